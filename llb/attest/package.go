// Package attest says what is in an image: an SPDX document of its software, and a
// manifest of its device code. It is pure: what it writes follows from what it is
// given, byte for byte.
package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"

	"github.com/package-url/packageurl-go"
)

// Kind says where a piece of software comes from.
type Kind string

const (
	// KindImage is the image itself, the root of a document.
	KindImage Kind = "image"
	// KindDebian is a binary package of Debian or of a distribution made of it.
	KindDebian Kind = "deb"
	// KindSource was compiled from a source tree, as llama.cpp.
	KindSource Kind = "source"
	// KindVendored is somebody else's code that such a tree carries a copy of.
	KindVendored Kind = "vendored"
	// KindNPM is an npm package that the web UI was built with. It may or may not be
	// in the result: a bundler takes what it needs.
	KindNPM Kind = "npm"
)

var kinds = []Kind{KindImage, KindDebian, KindSource, KindVendored, KindNPM}

// Package is a piece of software.
type Package struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	// Version is empty where it is not known.
	Version string `json:"version,omitempty"`
	// PURL is its package URL (ECMA-427); empty where it has none.
	PURL string `json:"purl,omitempty"`
	// Licence is what its authors declare, an SPDX licence expression; empty where
	// that is not known.
	Licence string `json:"licence,omitempty"`
	// LicenceTexts are the texts of the LicenseRef-… in Licence.
	LicenceTexts map[string]string `json:"licence_texts,omitempty"`
	// Checksums are digests in lower-case hex by SPDX's names of their algorithms,
	// as SHA256.
	Checksums map[string]string `json:"checksums,omitempty"`
	// Source is where it was downloaded from, a URL; empty where that is not known.
	Source string `json:"source,omitempty"`
	// BuiltFrom is a Debian package's source package and its version, separated by a
	// space: Debian's security tracker knows source packages alone.
	BuiltFrom string `json:"built_from,omitempty"`
	// Supplier is who distributes it, as SPDX has it: "Organization: Debian" or
	// "Person: Jane Doe (jane@example.org)"; empty where that is not known.
	Supplier string `json:"supplier,omitempty"`
}

// digest tells packages apart that differ in anything.
func (p Package) digest() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic("a package is strings, which always encode: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// purl writes a package URL. Qualifiers without a value are left out.
func purl(kind, namespace, name, version string, qualifiers map[string]string) string {
	var q packageurl.Qualifiers
	for _, k := range slices.Sorted(maps.Keys(qualifiers)) {
		if qualifiers[k] != "" {
			q = append(q, packageurl.Qualifier{Key: k, Value: qualifiers[k]})
		}
	}
	return packageurl.NewPackageURL(kind, namespace, name, version, q, "").ToString()
}
