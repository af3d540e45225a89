package attest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/llb/attest"
	"github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
)

var update = flag.Bool("update", false, "write testdata instead of comparing with it")

var created = time.Date(2026, 10, 1, 14, 0, 0, 999, time.FixedZone("", 7200))

// image is a document with all kinds of packages.
func image(change func(*attest.Document)) attest.Document {
	d := attest.Document{
		Name: "llama.cpp", Namespace: "https://llorch.dev/spdx/0123", Created: created, Tool: "llorch-bk-1.2.3",
		Root: attest.Package{Kind: attest.KindImage, Name: "llama.cpp server", Version: "b9000"},
		Packages: []attest.Package{
			{
				Kind: attest.KindSource, Name: "llama.cpp", Version: "b9000", Licence: "MIT", Source: "https://github.com/ggml-org/llama.cpp",
				PURL: "pkg:github/ggml-org/llama.cpp@b9000", Supplier: "Organization: ggml & friends <ggml.ai>",
			},
			{
				Kind: attest.KindDebian, Name: "libstdc++6", Version: "14.2.0-19", BuiltFrom: "gcc-14 14.2.0-19",
				PURL: "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64&distro=debian-13&upstream=gcc-14",
			},
			{Kind: attest.KindVendored, Name: "sha1", Licence: "LicenseRef-pd", LicenceTexts: map[string]string{"LicenseRef-pd": "Public domain"}},
			{Kind: attest.KindNPM, Name: "@scope/a", Version: "1.0.0", PURL: "pkg:npm/%40scope/a@1.0.0", Checksums: map[string]string{"SHA512": strings.Repeat("ab", 64), "SHA1": strings.Repeat("cd", 20)}},
		},
	}
	if change != nil {
		change(&d)
	}
	return d
}

// read reads a document back with SPDX's own library, and checks what every document
// must have.
func read(t *testing.T, b []byte) *spdx.Document {
	t.Helper()
	doc, err := spdxjson.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range doc.Packages {
		id := "SPDXRef-" + string(p.PackageSPDXIdentifier)
		if ids[id] || strings.Trim(strings.ToLower(id), "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			t.Errorf("id %q is there twice, or is none", id)
		}
		ids[id] = true
		if p.FilesAnalyzed || !p.IsFilesAnalyzedTagPresent {
			t.Errorf("%s: files count as analyzed", id)
		}
		if p.PackageDownloadLocation == "" {
			t.Errorf("%s: no download location", id)
		}
		for _, r := range p.PackageExternalReferences {
			if _, err := packageurl.FromString(r.Locator); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	for _, r := range doc.Relationships {
		if !ids["SPDXRef-"+string(r.RefA.ElementRefID)] || !ids["SPDXRef-"+string(r.RefB.ElementRefID)] {
			t.Errorf("%v relates what is not there", *r)
		}
	}
	return doc
}

// document makes one of an image with the packages, and reads it.
func document(t *testing.T, packages ...attest.Package) *spdx.Document {
	t.Helper()
	b, err := image(func(d *attest.Document) { d.Packages = packages }).SPDX()
	if err != nil {
		t.Fatal(err)
	}
	return read(t, b)
}

func TestSPDXGolden(t *testing.T) {
	t.Parallel()
	b, err := image(nil).SPDX()
	if err != nil {
		t.Fatal(err)
	}
	read(t, b)
	var got bytes.Buffer
	if err := json.Indent(&got, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/image.spdx.json"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: go test -update writes it", err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestSPDXIsEqualForEqualContent(t *testing.T) {
	t.Parallel()
	want, err := image(nil).SPDX()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 25 {
		got, err := image(func(d *attest.Document) {
			// A package twice, the root among them, another order, another time zone.
			d.Packages = append(d.Packages, d.Packages[random.IntN(len(d.Packages))], d.Root)
			random.Shuffle(len(d.Packages), func(i, j int) { d.Packages[i], d.Packages[j] = d.Packages[j], d.Packages[i] })
			d.Created = d.Created.UTC()
		}).SPDX()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// A package that changes leaves the others' ids alone.
func TestSPDXIDs(t *testing.T) {
	t.Parallel()
	ids := func(change func(*attest.Document)) map[string]string {
		b, err := image(change).SPDX()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, p := range read(t, b).Packages {
			out[p.PackageName] = string(p.PackageSPDXIdentifier)
		}
		return out
	}
	before := ids(nil)
	after := ids(func(d *attest.Document) { d.Packages[0].Version = "b9001" })
	for name, id := range before {
		if same := after[name] == id; same == (name == "llama.cpp") {
			t.Errorf("%s: %s, and then %s", name, id, after[name])
		}
	}
}

// What differs in anything is two packages, also where the names look alike in an id.
func TestSPDXKeepsApart(t *testing.T) {
	t.Parallel()
	doc := document(t,
		attest.Package{Kind: attest.KindDebian, Name: "libstdc++6", Version: "1"},
		attest.Package{Kind: attest.KindDebian, Name: "libstdc--6", Version: "1"},
		attest.Package{Kind: attest.KindDebian, Name: "libstdc++6", Version: "2"},
		attest.Package{Kind: attest.KindVendored, Name: "libstdc++6", Version: "1"},
	)
	if len(doc.Packages) != 5 {
		t.Errorf("%d packages, want the root and 4", len(doc.Packages))
	}
}

func TestSPDXWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*attest.Document)
		want   []string
	}{
		"all of the document at once": {func(d *attest.Document) { *d = attest.Document{Root: d.Root} }, []string{"no name", `namespace ""`, "no time of creation", "the tool that made it"}},
		"namespace with a fragment":   {func(d *attest.Document) { d.Namespace += "#x" }, []string{"namespace"}},
		"namespace without a scheme":  {func(d *attest.Document) { d.Namespace = "llorch.dev/x" }, []string{"namespace"}},
		"the root's kind":             {func(d *attest.Document) { d.Root.Kind = "" }, []string{`"llama.cpp server": unknown kind ""`}},
		"two packages at once": {func(d *attest.Document) {
			d.Packages[0].Licence, d.Packages[1].Name = "BSD", ""
		}, []string{`"llama.cpp": licence "BSD"`, `"": it has no name`}},
		"a licence without text": {func(d *attest.Document) { d.Packages[2].LicenceTexts = nil }, []string{"LicenseRef-pd has no text"}},
		"two texts of a licence": {func(d *attest.Document) {
			d.Packages[0].Licence, d.Packages[0].LicenceTexts = "MIT OR LicenseRef-pd", map[string]string{"LicenseRef-pd": "Another"}
		}, []string{"LicenseRef-pd has another text"}},
		"a short checksum":       {func(d *attest.Document) { d.Packages[3].Checksums["SHA1"] = "abcd" }, []string{`"abcd" is not a SHA1 checksum`}},
		"a checksum of capitals": {func(d *attest.Document) { d.Packages[3].Checksums["SHA1"] = strings.Repeat("CD", 20) }, []string{"is not a SHA1 checksum"}},
		"an unknown algorithm":   {func(d *attest.Document) { d.Packages[3].Checksums["CRC32"] = "" }, []string{"is not a CRC32 checksum"}},
		"a supplier":             {func(d *attest.Document) { d.Packages[0].Supplier = "ggml.ai" }, []string{`must begin with Organization: or Person:, got "ggml.ai"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := image(c.change).SPDX()
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in:\n%v", want, err)
				}
			}
		})
	}
}

func TestSPDXRelationships(t *testing.T) {
	t.Parallel()
	doc := document(t, image(nil).Packages...)
	names := map[string]string{"DOCUMENT": "DOCUMENT"}
	for _, p := range doc.Packages {
		names[string(p.PackageSPDXIdentifier)] = p.PackageName
	}
	var got []string
	for _, r := range doc.Relationships {
		got = append(got, names[string(r.RefA.ElementRefID)]+" "+r.Relationship+" "+names[string(r.RefB.ElementRefID)])
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{
		"@scope/a BUILD_DEPENDENCY_OF llama.cpp server",
		"DOCUMENT DESCRIBES llama.cpp server",
		"llama.cpp server CONTAINS libstdc++6",
		"llama.cpp server CONTAINS llama.cpp",
		"llama.cpp server CONTAINS sha1",
	}, got); diff != "" {
		t.Error(diff)
	}
}
