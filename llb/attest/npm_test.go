package attest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/llb/attest"
)

// lock is a package-lock.json with what is between the braces of its packages.
func lock(packages string) []byte {
	return []byte(`{"name": "ui", "lockfileVersion": 3, "packages": {"": {"name": "ui", "version": "1.0.0"}` + packages + `}}`)
}

func TestNPMPackages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		packages string
		want     []attest.Package
	}{
		"nothing but the tree": {``, nil},
		"scope, checksum, source, licence": {
			`, "node_modules/@scope/a": {"version": "1.0.0", "resolved": "https://registry.example.com/@scope/a/-/a-1.0.0.tgz", "integrity": "sha1-qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "dev": true, "license": "MIT"}`,
			[]attest.Package{{
				Name: "@scope/a", Version: "1.0.0", PURL: "pkg:npm/%40scope/a@1.0.0", Licence: "MIT", Source: "https://registry.example.com/@scope/a/-/a-1.0.0.tgz",
				Checksums: map[string]string{"SHA1": "a9993e364706816aba3e25717850c26c9cd0d89d"},
			}},
		},
		"nested, twice, two versions": {
			`, "node_modules/b": {"version": "2.0.0"}, "node_modules/a/node_modules/b": {"version": "1.0.0"}, "node_modules/c/node_modules/b": {"version": "1.0.0"}, "node_modules/a/node_modules/z": {"version": "1.0.0"}`,
			[]attest.Package{{Name: "b", Version: "1.0.0", PURL: "pkg:npm/b@1.0.0"}, {Name: "b", Version: "2.0.0", PURL: "pkg:npm/b@2.0.0"}, {Name: "z", Version: "1.0.0", PURL: "pkg:npm/z@1.0.0"}},
		},
		"an alias has its package's name": {
			`, "node_modules/old": {"name": "b", "version": "1.0.0"}`,
			[]attest.Package{{Name: "b", Version: "1.0.0", PURL: "pkg:npm/b@1.0.0"}},
		},
		"folders of the tree": {`, "packages/x": {"version": "1.0.0"}, "node_modules/x": {"resolved": "packages/x", "link": true}`, nil},
		"a version that is not plain": {
			`, "node_modules/b": {"version": "1.0.0+x"}`,
			[]attest.Package{{Name: "b", Version: "1.0.0+x", PURL: "pkg:npm/b@1.0.0%2Bx"}},
		},
		"licence expressions": {
			`, "node_modules/a": {"version": "1", "license": "(MIT OR CC0-1.0)"}, "node_modules/b": {"version": "1", "license": "SEE LICENSE IN x"}, "node_modules/c": {"version": "1", "license": {"type": "MIT"}}, "node_modules/d": {"version": "1", "license": "LicenseRef-x"}`,
			[]attest.Package{{Name: "a", Version: "1", PURL: "pkg:npm/a@1", Licence: "MIT OR CC0-1.0"}, {Name: "b", Version: "1", PURL: "pkg:npm/b@1"}, {Name: "c", Version: "1", PURL: "pkg:npm/c@1"}, {Name: "d", Version: "1", PURL: "pkg:npm/d@1"}},
		},
		"no passwords, no paths": {
			`, "node_modules/a": {"version": "1", "resolved": "https://me:secret@npm.example.org/a.tgz"}, "node_modules/b": {"version": "1", "resolved": "file:../b"}`,
			[]attest.Package{{Name: "a", Version: "1", PURL: "pkg:npm/a@1"}, {Name: "b", Version: "1", PURL: "pkg:npm/b@1"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range c.want {
				c.want[i].Kind = attest.KindNPM
			}
			got, err := attest.NPMPackages(lock(c.packages), "amd64")
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			document(t, got...)
		})
	}
}

func TestNPMPlatforms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		entry, arch string
		want        bool
	}{
		"ours":                        {`"optional": true, "os": ["linux"], "cpu": ["x64"]`, "amd64", true},
		"Arm's on x86":                {`"optional": true, "os": ["linux"], "cpu": ["arm64"]`, "amd64", false},
		"Arm's on Arm":                {`"optional": true, "os": ["linux"], "cpu": ["arm64"]`, "arm64", true},
		"another system's":            {`"optional": true, "os": ["darwin"]`, "amd64", false},
		"another system's, as a word": {`"optional": true, "os": "darwin"`, "amd64", false},
		"any system's":                {`"optional": true, "os": ["any"]`, "amd64", true},
		"all but one":                 {`"optional": true, "os": ["!win32"]`, "amd64", true},
		"all but ours":                {`"optional": true, "os": ["!linux"]`, "amd64", false},
		"another C library's":         {`"optional": true, "libc": ["musl"]`, "amd64", false},
		"optional in development":     {`"devOptional": true, "os": ["darwin"]`, "amd64", false},
		"optional for everyone":       {`"optional": true`, "amd64", true},
		"not optional":                {`"os": ["darwin"]`, "amd64", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := attest.NPMPackages(lock(`, "node_modules/a": {"version": "1", `+c.entry+`}, "node_modules/a/node_modules/@s/b": {"version": "1"}`), c.arch)
			// What is in a package that is left out is left out with it.
			if err != nil || c.want && len(got) != 2 || !c.want && len(got) != 0 {
				t.Errorf("%v: got %v, want them: %t", err, got, c.want)
			}
		})
	}
}

func TestNPMWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ lock, arch, want string }{
		"no lock":             {`<html>`, "amd64", "package-lock.json"},
		"an old lock":         {`{"lockfileVersion": 1, "dependencies": {}}`, "amd64", "must be 2 or 3, got 1"},
		"a new lock":          {`{"lockfileVersion": 4}`, "amd64", "must be 2 or 3, got 4"},
		"an architecture":     {string(lock("")), "riscv64", `must be one of amd64, arm64, got "riscv64"`},
		"not base64":          {string(lock(`, "node_modules/a": {"version": "1", "integrity": "sha512-?"}`)), "amd64", `node_modules/a: "sha512-?" is not a digest`},
		"a digest too short":  {string(lock(`, "node_modules/a": {"version": "1", "integrity": "sha512-qZk+NkcGgWq6PiVxeFDCbJzQ2J0="}`)), "amd64", "is not a digest"},
		"an unknown digest":   {string(lock(`, "node_modules/a": {"version": "1", "integrity": "md4-qZk+"}`)), "amd64", "is not a digest"},
		"a word for a number": {`{"lockfileVersion": "three"}`, "amd64", "package-lock.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := attest.NPMPackages([]byte(c.lock), c.arch); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
