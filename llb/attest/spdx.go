package attest

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// noAssertion is SPDX's value for unknown facts.
const noAssertion = "NOASSERTION"

// hexLength maps SPDX's names of digest algorithms to the length of a digest in hex digits.
var hexLength = map[string]int{"SHA1": 40, "SHA256": 64, "SHA384": 96, "SHA512": 128}

// Document is the content of an SPDX 2.3 document.
type Document struct {
	// Name is the document's name.
	Name string
	// Namespace is a URI without a fragment, unique to the document. Derive it from a digest
	// of the content, so that equal content gives equal documents.
	Namespace string
	// Created is the document's creation time, in seconds. For a reproducible image, use the
	// source's time.
	Created time.Time
	// Root is the image that the document describes.
	Root Package
	// Packages are the image's packages, in any order.
	Packages []Package
	// Tool is the tool that made the document, such as llorch-bk-1.2.3.
	Tool string
}

// SPDX writes the document as JSON on one line. Equal documents give equal bytes, whatever
// the order of Packages; duplicates are written once. The root contains the packages, except
// for npm's, which are its build dependencies. The error lists everything that is wrong with
// the document.
func (d Document) SPDX() ([]byte, error) {
	packages := map[string]Package{}
	for _, p := range d.Packages {
		packages[p.digest()] = p
	}
	delete(packages, d.Root.digest())
	sorted := slices.SortedFunc(maps.Values(packages), comparePackages)

	wrong := d.check()
	root := elementID(d.Root)
	doc := v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: d.Name, DocumentNamespace: d.Namespace,
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: d.Tool}},
			Created:  d.Created.UTC().Format("2006-01-02T15:04:05Z"),
		},
		Relationships: []*v2_3.Relationship{relate("DOCUMENT", common.TypeRelationshipDescribe, root)},
	}
	texts := map[string]string{}
	for _, p := range append([]Package{d.Root}, sorted...) {
		for _, err := range p.check() {
			wrong = append(wrong, fmt.Errorf("package %q: %w", p.Name, err))
		}
		for _, id := range licenceRefs(p.Licence) {
			if old, ok := texts[id]; ok && old != p.LicenceTexts[id] {
				wrong = append(wrong, fmt.Errorf("package %q: %s has another text in another package", p.Name, id))
			}
			texts[id] = p.LicenceTexts[id]
		}
		doc.Packages = append(doc.Packages, p.spdx())
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("SPDX document %q: %w", d.Name, errors.Join(wrong...))
	}
	for _, p := range sorted {
		if p.Kind == KindNPM {
			doc.Relationships = append(doc.Relationships, relate(elementID(p), common.TypeRelationshipBuildDependencyOf, root))
		} else {
			doc.Relationships = append(doc.Relationships, relate(root, common.TypeRelationshipContains, elementID(p)))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(texts)) {
		doc.OtherLicenses = append(doc.OtherLicenses, &v2_3.OtherLicense{LicenseIdentifier: id, ExtractedText: texts[id]})
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("SPDX document %q: %w", d.Name, err)
	}
	return out.Bytes(), nil
}

// check lists what is wrong with the document itself.
func (d Document) check() []error {
	var wrong []error
	if d.Name == "" {
		wrong = append(wrong, errors.New("it has no name"))
	}
	if u, err := url.Parse(d.Namespace); err != nil || !u.IsAbs() || strings.Contains(d.Namespace, "#") {
		wrong = append(wrong, fmt.Errorf("namespace %q is not an absolute URI without a fragment", d.Namespace))
	}
	if d.Created.IsZero() {
		wrong = append(wrong, errors.New("it has no time of creation"))
	}
	if d.Tool == "" {
		wrong = append(wrong, errors.New("it does not name the tool that made it"))
	}
	return wrong
}

// check lists what is wrong with a package.
func (p Package) check() []error {
	var wrong []error
	if p.Name == "" {
		wrong = append(wrong, errors.New("it has no name"))
	}
	if !slices.Contains(kinds, p.Kind) {
		wrong = append(wrong, fmt.Errorf("unknown kind %q", p.Kind))
	}
	if p.Licence != "" && !validLicence(p.Licence) {
		wrong = append(wrong, fmt.Errorf("licence %q is not an SPDX expression", p.Licence))
	}
	for _, id := range licenceRefs(p.Licence) {
		if p.LicenceTexts[id] == "" {
			wrong = append(wrong, fmt.Errorf("licence %s has no text", id))
		}
	}
	for _, algorithm := range slices.Sorted(maps.Keys(p.Checksums)) {
		sum := p.Checksums[algorithm]
		length, known := hexLength[algorithm]
		if _, err := hex.DecodeString(sum); err != nil || !known || len(sum) != length || sum != strings.ToLower(sum) {
			wrong = append(wrong, fmt.Errorf("%q is not a %s checksum", sum, algorithm))
		}
	}
	if kind, _, ok := strings.Cut(p.Supplier, ": "); p.Supplier != "" && (!ok || kind != "Organization" && kind != "Person") {
		wrong = append(wrong, fmt.Errorf("supplier must begin with Organization: or Person:, got %q", p.Supplier))
	}
	return wrong
}

// spdx converts the package to SPDX.
func (p Package) spdx() *v2_3.Package {
	s := &v2_3.Package{
		PackageName: p.Name, PackageSPDXIdentifier: elementID(p), PackageVersion: p.Version,
		PackageDownloadLocation: cmp.Or(p.Source, noAssertion),
		// No file was scanned: only the declared licence is known.
		PackageLicenseConcluded: noAssertion,
		PackageLicenseDeclared:  cmp.Or(p.Licence, noAssertion),
		PackageCopyrightText:    noAssertion,
	}
	if p.Kind == KindImage {
		s.PrimaryPackagePurpose = "CONTAINER"
	}
	if kind, name, ok := strings.Cut(p.Supplier, ": "); ok {
		s.PackageSupplier = &common.Supplier{SupplierType: kind, Supplier: name}
	}
	if p.BuiltFrom != "" {
		// Trivy finds the source package by these words.
		s.PackageSourceInfo = "built package from: " + p.BuiltFrom
	}
	for _, algorithm := range slices.Sorted(maps.Keys(p.Checksums)) {
		s.PackageChecksums = append(s.PackageChecksums, common.Checksum{Algorithm: common.ChecksumAlgorithm(algorithm), Value: p.Checksums[algorithm]})
	}
	if p.PURL != "" {
		s.PackageExternalReferences = []*v2_3.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: p.PURL}}
	}
	return s
}

// elementID names a package within a document by its content, so that a change of one
// package leaves the names of the others alone.
func elementID(p Package) common.ElementID {
	name := strings.Trim(notID.ReplaceAllString(p.Name, "-"), "-")
	return common.ElementID(fmt.Sprintf("Package-%s-%s-%s", p.Kind, name, p.digest()[:16]))
}

func relate(a common.ElementID, how string, b common.ElementID) *v2_3.Relationship {
	return &v2_3.Relationship{RefA: common.MakeDocElementID("", string(a)), RefB: common.MakeDocElementID("", string(b)), Relationship: how}
}

// comparePackages orders packages for readers. The digest makes the order total.
func comparePackages(a, b Package) int {
	if c := cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version)); c != 0 {
		return c
	}
	return cmp.Compare(a.digest(), b.digest())
}
