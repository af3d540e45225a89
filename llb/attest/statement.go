package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Predicate types of an image's attestations.
const (
	// PredicateSPDX is in-toto's type for an SPDX document.
	PredicateSPDX = "https://spdx.dev/Document"
	// PredicateDeviceCode is this project's type for DeviceCode.
	PredicateDeviceCode = "https://github.com/llorch/llorch-bk/predicates/device-code/v1"
	// PredicateProvenance is SLSA's type for build provenance, which BuildKit writes.
	PredicateProvenance = "https://slsa.dev/provenance/v1"
	// PredicateProvenance02 is the type that BuildKit before 0.22 writes.
	PredicateProvenance02 = "https://slsa.dev/provenance/v0.2"
)

// Names maps predicate types to their common names.
var Names = map[string]string{
	PredicateSPDX: "SBOM", PredicateDeviceCode: "device code",
	PredicateProvenance: "provenance", PredicateProvenance02: "provenance",
}

// Statement is an in-toto statement about some artifacts.
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
	// Digest maps the algorithm's name, such as sha256, to the digest in hex.
	Digest map[string]string `json:"digest"`
}

// StatementV1 is the format that this program writes.
const StatementV1 = "https://in-toto.io/Statement/v1"

var statementTypes = []string{StatementV1, "https://in-toto.io/Statement/v0.1"}

// ParseStatement reads an in-toto statement. Another format, a missing subject or a missing
// predicate is an error.
func ParseStatement(data []byte) (Statement, error) {
	var s Statement
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("it is not an in-toto statement: %w", err)
	}
	switch {
	case !slices.Contains(statementTypes, s.Type):
		return s, fmt.Errorf("it is not an in-toto statement: its type is %q", s.Type)
	case len(s.Subject) == 0:
		return s, errors.New("the statement has no subject")
	case s.PredicateType == "" || len(s.Predicate) == 0:
		return s, errors.New("the statement has no predicate")
	}
	return s, nil
}

// About checks that every subject of a statement is the artifact with this sha256, in
// hex. BuildKit adds one subject for each of an image's tags.
func (s Statement) About(sha256 string) error {
	for _, of := range s.Subject {
		if of.Digest["sha256"] != sha256 {
			return fmt.Errorf("its subject is sha256:%s, not this image, sha256:%s", of.Digest["sha256"], sha256)
		}
	}
	return nil
}
