package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdxlib"
)

// CheckSPDX checks that an SPDX document is well-formed, and that its distribution packages
// are exactly those that the image has: name, version, architecture. The document must
// name llama.cpp at this commit, unless commit is empty. The error lists everything that
// is wrong.
func CheckSPDX(data []byte, installed []Package, commit string) error {
	doc, err := spdxjson.Read(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("it is not an SPDX document: %w", err)
	}
	wrong := wellFormed(doc)
	listed, sources := map[string]bool{}, map[string]bool{}
	for _, p := range doc.Packages {
		for _, ref := range p.PackageExternalReferences {
			url, err := packageurl.FromString(ref.Locator)
			if ref.RefType != common.TypePackageManagerPURL {
				continue
			}
			switch {
			case err != nil:
				wrong = append(wrong, fmt.Errorf("package %q: %q is not a package URL: %w", p.PackageName, ref.Locator, err))
			case url.Type != packageurl.TypeDebian:
				sources[url.Version] = true
			case url.Name != p.PackageName || url.Version != p.PackageVersion:
				wrong = append(wrong, fmt.Errorf("package %q %s: its package URL names %s %s", p.PackageName, p.PackageVersion, url.Name, url.Version))
			default:
				listed[debian(url)] = true
			}
		}
	}
	has := map[string]bool{}
	for _, p := range installed {
		url, err := packageurl.FromString(p.PURL)
		if err != nil {
			return fmt.Errorf("package %q of the image: %w", p.Name, err)
		}
		has[debian(url)] = true
	}
	for _, p := range slices.Sorted(maps.Keys(has)) {
		if !listed[p] {
			wrong = append(wrong, fmt.Errorf("it lacks %s, which is in the image", p))
		}
	}
	for _, p := range slices.Sorted(maps.Keys(listed)) {
		if !has[p] {
			wrong = append(wrong, fmt.Errorf("it lists %s, which is not in the image", p))
		}
	}
	if commit != "" && !sources[commit] {
		wrong = append(wrong, fmt.Errorf("it does not name llama.cpp at commit %s", commit))
	}
	return errors.Join(wrong...)
}

// debian identifies a package of Debian or of a distribution derived from it.
func debian(url packageurl.PackageURL) string {
	return url.Name + " " + url.Version + " " + url.Qualifiers.Map()["arch"]
}

// wellFormed lists what is wrong with a document's form.
func wellFormed(doc *spdx.Document) []error {
	var wrong []error
	if doc.SPDXIdentifier != "DOCUMENT" || doc.DocumentNamespace == "" || doc.CreationInfo == nil || len(doc.CreationInfo.Creators) == 0 {
		wrong = append(wrong, errors.New("it does not have an id, a namespace and a creator"))
	}
	seen := map[common.ElementID]bool{}
	for _, p := range doc.Packages {
		if p.PackageName == "" || p.PackageSPDXIdentifier == "" {
			wrong = append(wrong, errors.New("it has a package without a name or an id"))
		}
		if seen[p.PackageSPDXIdentifier] {
			wrong = append(wrong, fmt.Errorf("duplicate id %s", p.PackageSPDXIdentifier))
		}
		seen[p.PackageSPDXIdentifier] = true
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		wrong = append(wrong, err)
	}
	if ids, err := spdxlib.GetDescribedPackageIDs(doc); err != nil || len(ids) != 1 {
		wrong = append(wrong, errors.New("it must describe exactly one image"))
	}
	return wrong
}

// CheckDeviceCode checks a manifest of device code against the one that ParseDeviceCode
// made from the image.
func CheckDeviceCode(data []byte, is DeviceCode) error {
	var said DeviceCode
	if err := json.Unmarshal(data, &said); err != nil {
		return fmt.Errorf("it is not a manifest of device code: %w", err)
	}
	if said.Schema != is.Schema {
		return fmt.Errorf("schema mismatch: got %d, want %d", said.Schema, is.Schema)
	}
	if reflect.DeepEqual(said, is) {
		return nil
	}
	a, err := said.JSON()
	if err != nil {
		return err
	}
	b, err := is.JSON()
	if err != nil {
		return err
	}
	return fmt.Errorf("it says %s, but the image has %s", bytes.TrimSpace(a), bytes.TrimSpace(b))
}

// Inputs are the inputs of a build, as a lock has them.
type Inputs struct {
	// Commit is the source's commit.
	Commit string
	// Sent is the name under which a client sends a source tree. The builder does not know
	// the commit of such a tree.
	Sent string
	// Bases are the base images: their names by digest; nil if they are unknown.
	Bases map[string]string
	// Others are further images that the build may have used, by digest: in an index,
	// those of the other platforms.
	Others map[string]string
}

// provenance has the inputs in both versions of SLSA's predicate.
type provenance struct {
	BuildDefinition struct {
		ExternalParameters struct {
			Request parameters `json:"request"`
		} `json:"externalParameters"`
		ResolvedDependencies []dependency `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	Invocation struct {
		Parameters parameters `json:"parameters"`
	} `json:"invocation"`
	Materials []dependency `json:"materials"`
}

type parameters struct {
	Locals []struct {
		Name string `json:"name"`
	} `json:"locals"`
}

type dependency struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// CheckProvenance checks that SLSA provenance has the inputs of a lock: the source's commit,
// unless a client sent the source, and the digest of each base. Images other than these and
// Others are an error. The error lists everything that is wrong.
func CheckProvenance(data []byte, want Inputs) error {
	var p provenance
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("it is not SLSA provenance: %w", err)
	}
	sent := false
	for _, l := range append(p.BuildDefinition.ExternalParameters.Request.Locals, p.Invocation.Parameters.Locals...) {
		sent = sent || l.Name == want.Sent
	}
	left := maps.Clone(want.Bases)
	commit := false
	var wrong []error
	for _, d := range append(p.BuildDefinition.ResolvedDependencies, p.Materials...) {
		base := "sha256:" + d.Digest["sha256"]
		switch {
		case strings.HasPrefix(d.URI, "pkg:"):
			_, needed := want.Bases[base]
			if _, known := want.Others[base]; !known && !needed && want.Bases != nil {
				wrong = append(wrong, fmt.Errorf("the build used %s, %s, which is not in the lock", d.URI, base))
			}
			delete(left, base)
		case d.Digest["sha1"] == "":
			wrong = append(wrong, fmt.Errorf("the build used %s, which is not in the lock", d.URI))
		case d.Digest["sha1"] != want.Commit:
			wrong = append(wrong, fmt.Errorf("its source is commit %s of %s, not %s", d.Digest["sha1"], d.URI, want.Commit))
		default:
			commit = true
		}
	}
	if !commit && !sent {
		wrong = append(wrong, fmt.Errorf("it does not list the source, commit %s", want.Commit))
	}
	for _, base := range slices.Sorted(maps.Keys(left)) {
		wrong = append(wrong, fmt.Errorf("it does not list the %s, %s", left[base], base))
	}
	return errors.Join(wrong...)
}
