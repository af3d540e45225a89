// Package attest describes an image: an SPDX document of its software, and a manifest of
// its device code. It is pure: equal input gives equal bytes.
package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"

	"github.com/package-url/packageurl-go"
)

// Kind says where software comes from.
type Kind string

const (
	// KindImage is the image itself, the root of a document.
	KindImage Kind = "image"
	// KindDebian is a binary package of Debian or of a distribution derived from it.
	KindDebian Kind = "deb"
	// KindSource was compiled from a source tree, such as llama.cpp.
	KindSource Kind = "source"
	// KindVendored is third-party code that such a tree contains a copy of.
	KindVendored Kind = "vendored"
	// KindNPM is an npm package that the web UI was built with. The result need not
	// contain it, because a bundler includes only what it needs.
	KindNPM Kind = "npm"
)

var kinds = []Kind{KindImage, KindDebian, KindSource, KindVendored, KindNPM}

// Package is one item of software.
type Package struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	// Version is empty if it is unknown.
	Version string `json:"version,omitempty"`
	// PURL is its package URL (ECMA-427); empty if it has none.
	PURL string `json:"purl,omitempty"`
	// Licence is the SPDX licence expression that its authors declare; empty if it is
	// unknown.
	Licence string `json:"licence,omitempty"`
	// LicenceTexts maps each LicenseRef-… in Licence to its text.
	LicenceTexts map[string]string `json:"licence_texts,omitempty"`
	// Checksums maps SPDX's names of algorithms, such as SHA256, to digests in lower-case
	// hex.
	Checksums map[string]string `json:"checksums,omitempty"`
	// Source is the URL that it was downloaded from; empty if it is unknown.
	Source string `json:"source,omitempty"`
	// BuiltFrom is a Debian package's source package and its version, separated by a
	// space. Debian's security tracker lists only source packages.
	BuiltFrom string `json:"built_from,omitempty"`
	// Supplier is who distributes it, in SPDX's form: "Organization: Debian" or
	// "Person: Jane Doe (jane@example.org)"; empty if it is unknown.
	Supplier string `json:"supplier,omitempty"`
}

// digest identifies a package by all its fields.
func (p Package) digest() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic("a package is strings, which always encode: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// purl makes a package URL. Qualifiers without a value are left out.
func purl(kind, namespace, name, version string, qualifiers map[string]string) string {
	var q packageurl.Qualifiers
	for _, k := range slices.Sorted(maps.Keys(qualifiers)) {
		if qualifiers[k] != "" {
			q = append(q, packageurl.Qualifier{Key: k, Value: qualifiers[k]})
		}
	}
	return packageurl.NewPackageURL(kind, namespace, name, version, q, "").ToString()
}
