package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Predicate types of the statements that go with an image.
const (
	// PredicateSPDX is in-toto's for an SPDX document.
	PredicateSPDX = "https://spdx.dev/Document"
	// PredicateDeviceCode is ours for DeviceCode.
	PredicateDeviceCode = "https://github.com/llorch/llorch-bk/predicates/device-code/v1"
	// PredicateProvenance is SLSA's for how something was built, which BuildKit writes.
	PredicateProvenance = "https://slsa.dev/provenance/v1"
	// PredicateProvenance02 is the one of BuildKit before 0.22.
	PredicateProvenance02 = "https://slsa.dev/provenance/v0.2"
)

// Names are what people call the statements, by their predicate types.
var Names = map[string]string{
	PredicateSPDX: "SBOM", PredicateDeviceCode: "device code",
	PredicateProvenance: "provenance", PredicateProvenance02: "provenance",
}

// Statement is an in-toto statement: what somebody says of some artifacts.
type Statement struct {
	// Type is the version of in-toto's format.
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Subject is an artifact that a statement is about.
type Subject struct {
	Name string `json:"name,omitempty"`
	// Digest is hex by the algorithm's name, as sha256.
	Digest map[string]string `json:"digest"`
}

// StatementV1 is the format that we write.
const StatementV1 = "https://in-toto.io/Statement/v1"

var statementTypes = []string{StatementV1, "https://in-toto.io/Statement/v0.1"}

// ParseStatement reads an in-toto statement. One of another format, about nothing, or
// without a predicate is an error.
func ParseStatement(data []byte) (Statement, error) {
	var s Statement
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("it is not an in-toto statement: %w", err)
	}
	switch {
	case !slices.Contains(statementTypes, s.Type):
		return s, fmt.Errorf("it is not an in-toto statement: its type is %q", s.Type)
	case len(s.Subject) == 0:
		return s, errors.New("it is about nothing: it has no subject")
	case s.PredicateType == "" || len(s.Predicate) == 0:
		return s, errors.New("it states nothing: it has no predicate")
	}
	return s, nil
}

// About checks that every subject of a statement is the artifact with this sha256, in
// hex. BuildKit names an image once for each of its tags.
func (s Statement) About(sha256 string) error {
	for _, of := range s.Subject {
		if of.Digest["sha256"] != sha256 {
			return fmt.Errorf("its subject is sha256:%s, not this image, sha256:%s", of.Digest["sha256"], sha256)
		}
	}
	return nil
}
