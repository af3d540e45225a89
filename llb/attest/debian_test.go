package attest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/llorch/llorch-bk/llb/attest"
)

const libc6 = `Package: libc6
Source: glibc
Version: 2.41-12+deb13u5
Architecture: amd64
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Description: GNU C Library: Shared libraries
 Contains the standard libraries that are used by nearly all programs.
 .
 Version: 1 is not this package's.
`

func TestDebianPackages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		control string
		want    attest.Package
	}{
		"another source package": {libc6, attest.Package{
			Name: "libc6", Version: "2.41-12+deb13u5", BuiltFrom: "glibc 2.41-12+deb13u5",
			PURL:     "pkg:deb/debian/libc6@2.41-12%2Bdeb13u5?arch=amd64&distro=debian-13&upstream=glibc",
			Supplier: "Organization: GNU Libc Maintainers (debian-glibc@lists.debian.org)",
		}},
		"another source version, plus signs in the name": {"Package: libstdc++6\nSource: gcc-14 (14.2.0-19)\nVersion: 14.2.0-19+b1\nArchitecture: arm64\n", attest.Package{
			Name: "libstdc++6", Version: "14.2.0-19+b1", BuiltFrom: "gcc-14 14.2.0-19",
			PURL: "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19%2Bb1?arch=arm64&distro=debian-13&upstream=gcc-14%4014.2.0-19",
		}},
		"its own source, an epoch, a tilde": {"Package: zlib1g\nVersion: 1:1.3~rc1\nArchitecture: all\nMaintainer: \"Mark Brown\" <broonie@debian.org>, Somebody <else@debian.org>\n", attest.Package{
			Name: "zlib1g", Version: "1:1.3~rc1", BuiltFrom: "zlib1g 1:1.3~rc1",
			PURL:     "pkg:deb/debian/zlib1g@1:1.3~rc1?arch=all&distro=debian-13",
			Supplier: "Organization: Mark Brown (broonie@debian.org)",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Kind = attest.KindDebian
			got, err := attest.DebianPackages(map[string][]byte{c.want.Name: []byte(c.control)}, nil, "debian", "13")
			if diff := cmp.Diff([]attest.Package{c.want}, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestDebianPackagesSorted(t *testing.T) {
	t.Parallel()
	status := map[string][]byte{}
	for _, name := range []string{"zlib1g", "libc6", "base-files"} {
		status[name] = []byte("Package: " + name + "\nVersion: 1\nArchitecture: all\n")
	}
	got, err := attest.DebianPackages(status, nil, "debian", "13")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"base-files", "libc6", "zlib1g"}, names); diff != "" {
		t.Error(diff)
	}
}

// All that is wrong is said at once.
func TestDebianPackagesWrong(t *testing.T) {
	t.Parallel()
	_, err := attest.DebianPackages(map[string][]byte{
		"a": []byte("Package: a\nArchitecture: all\n"),
		"b": []byte("Package: c\nVersion: 1\nArchitecture: all\n"),
		"d": []byte("0123456789abcdef  usr/lib/x.so\n"),
		"e": nil,
		"f": []byte(libc6 + "\n" + libc6),
		"g": []byte(" continues nothing\n"),
	}, nil, "debian", "13")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"a": it has no field Version`, `"b": it is for package "c"`, `"d": line 1 is not a field`,
		`"e": it must have one paragraph, got 0`, `"f": it must have one paragraph, got 2`, `"g": line 1 does not continue a field`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

const format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"

// files are paragraphs that declare licences; a text belongs after a newline and a space.
func files(licences ...string) string {
	out := format
	for _, l := range licences {
		out += "Files: *\nCopyright: 2026 Somebody\nLicense: " + l + "\n\n"
	}
	return out
}

func licence(t *testing.T, copyright string) attest.Package {
	t.Helper()
	got, err := attest.DebianPackages(map[string][]byte{"libc6": []byte(libc6)}, map[string][]byte{"libc6": []byte(copyright)}, "debian", "13")
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

func TestDebianLicence(t *testing.T) {
	t.Parallel()
	real, err := os.ReadFile("testdata/libzstd1.copyright")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ copyright, want string }{
		"a real file":                     {string(real), "(BSD-3-Clause OR GPL-2.0-only) AND MIT AND Zlib"},
		"none":                            {"", ""},
		"not machine-readable":            {"It was downloaded from https://example.org\n\nLicense: MIT\n", ""},
		"an older draft of the format":    {strings.Replace(files("MIT"), "copyright-format/1.0/", "copyright-format/0.9/", 1), ""},
		"a broken file":                   {files("MIT") + "not a field\n", ""},
		"comments":                        {files("MIT") + "# a comment\n" + files("Zlib"), "MIT AND Zlib"},
		"no Files":                        {format, ""},
		"of the header":                   {strings.TrimSpace(format) + "\nLicense: Zlib\n", "Zlib"},
		"only a text that no file has":    {files("MIT") + "License: GPL-2\n text\n", "MIT"},
		"sorted, each once":               {files("Zlib", "Expat", "MIT", "Apache-2.0"), "Apache-2.0 AND MIT AND Zlib"},
		"GPL or later":                    {files("GPL-2+"), "GPL-2.0-or-later"},
		"GPL only":                        {files("GPL-2"), "GPL-2.0-only"},
		"LGPL":                            {files("LGPL-2.1", "LGPL-2.1+"), "LGPL-2.1-only AND LGPL-2.1-or-later"},
		"GNU's names without hyphens":     {files("GPLv3+"), "GPL-3.0-or-later"},
		"GNU's names as SPDX has them":    {files("GPL-3.0-or-later"), "GPL-3.0-or-later"},
		"GFDL without invariant sections": {files("GFDL-NIV-1.3+"), "GFDL-1.3-no-invariants-or-later"},
		"GPL in words":                    {files("GPL-2 or later"), "GPL-2.0-or-later"},
		"case":                            {files("bsd-3-clause", "mpl-2.0", "ZLIB"), "BSD-3-Clause AND MPL-2.0 AND Zlib"},
		"a choice":                        {files("GPL-1+ or Artistic"), "Artistic-1.0-Perl OR GPL-1.0-or-later"},
		"a choice among others":           {files("GPL-1+ or Artistic", "Expat"), "(Artistic-1.0-Perl OR GPL-1.0-or-later) AND MIT"},
		"and binds tighter":               {files("Expat or Zlib and ISC"), "(ISC AND Zlib) OR MIT"},
		"a comma loosens":                 {files("Expat or Zlib, and ISC"), "ISC AND (MIT OR Zlib)"},
		"two choices":                     {files("Expat or Zlib", "ISC or curl"), "(ISC OR curl) AND (MIT OR Zlib)"},
		"nested, flat":                    {files("Expat and ISC", "Zlib"), "ISC AND MIT AND Zlib"},
		"an exception":                    {files("Apache-2.0 with LLVM exception"), "Apache-2.0 WITH LLVM-exception"},
		"LLVM's own name":                 {files("APACHE-2-LLVM-EXCEPTIONS"), "Apache-2.0 WITH LLVM-exception"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := licence(t, c.copyright)
			if got.Licence != c.want || got.LicenceTexts != nil {
				t.Errorf("got %q with %v, want %q", got.Licence, got.LicenceTexts, c.want)
			}
			document(t, got)
		})
	}
}

func TestDebianLicenceUnknownToSPDX(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		copyright string
		// want is the expression, with texts in the place of references.
		want string
	}{
		"text of its own":              {files("public-domain\n No rights.\n .\n At all."), "<No rights.\n\nAt all.>"},
		"text in another paragraph":    {files("SGI") + "License: sgi\n The text.\n", "<The text.>"},
		"of two texts its own":         {files("PD\n One.", "PD\n Two."), "<One.> AND <Two.>"},
		"the same twice":               {files("PD\n One.", "PD\n One."), "<One.>"},
		"beside one that SPDX knows":   {files("SGI or GPL-2+", "Expat") + "License: SGI\n The text.\n", "(GPL-2.0-or-later OR <The text.>) AND MIT"},
		"no text":                      {files("SGI"), `<The package's copyright file calls this licence "SGI" and does not have its text.>`},
		"no version":                   {files("GPL\n Any."), "<Any.>"},
		"no such version":              {files("GPL-9\n Any."), "<Any.>"},
		"an exception that is several": {files("GPL-3+ with OpenSSL exception\n The text."), "<The text.>"},
		"a text without a name":        {files("\n Do what you like and give it away."), "<Do what you like and give it away.>"},
		"a text with an and in it":     {files("SGI and whoever uses it\n may."), "<SGI and whoever uses it\nmay.>"},
		"a text instead of a name":     {files("Permission to use, copy, modify and distribute this\n for any purpose is granted."), "<Permission to use, copy, modify and distribute this\nfor any purpose is granted.>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := licence(t, c.copyright)
			got := p.Licence
			for id, text := range p.LicenceTexts {
				if !strings.Contains(got, id) || len(id) > 64 {
					t.Errorf("%s is too long, or not in %q", id, got)
				}
				got = strings.ReplaceAll(got, id, "<"+text+">")
			}
			// References are sorted by their digests.
			sortTerms := func(s string) []string { return strings.Split(s, " AND ") }
			if diff := cmp.Diff(sortTerms(c.want), sortTerms(got), cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
				t.Error(diff)
			}
			document(t, p)
		})
	}
}

// The same licence has the same name in every package, so that it is in a document once.
func TestDebianLicenceRefsAreContent(t *testing.T) {
	t.Parallel()
	one := licence(t, files("public-domain\n No rights."))
	two := licence(t, files("Expat", "public-domain\n No rights."))
	if diff := cmp.Diff(one.LicenceTexts, two.LicenceTexts); diff != "" || len(one.LicenceTexts) != 1 {
		t.Errorf("%v\n%s", one.LicenceTexts, diff)
	}
}
