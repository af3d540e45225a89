package attest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/llb/attest"
)

func TestVendored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, content string
		// want is name, version, package URL, licence
		want string
	}{
		"cpp-httplib":                   {"vendor/cpp-httplib/httplib.h", "//\n#define CPPHTTPLIB_VERSION \"0.57.1\"\n#define CPPHTTPLIB_VERSION_NUM \"0x003901\"\n", "cpp-httplib 0.57.1 pkg:github/yhirose/cpp-httplib@v0.57.1 MIT"},
		"cpp-httplib of an older tree":  {"examples/server/httplib.h", "#define CPPHTTPLIB_VERSION \"0.19.0\"\n", "cpp-httplib 0.19.0 pkg:github/yhirose/cpp-httplib@v0.19.0 MIT"},
		"ggml":                          {"ggml/CMakeLists.txt", "set(GGML_VERSION_MAJOR 0)\nset(GGML_VERSION_MINOR 25)\nset(GGML_VERSION_PATCH 1)\n", "ggml 0.25.1 pkg:github/ggml-org/ggml@v0.25.1 MIT"},
		"ggml before it had versions":   {"ggml/CMakeLists.txt", "project(\"ggml\" C CXX)\n", "ggml  pkg:github/ggml-org/ggml MIT"},
		"ggml with half a version":      {"ggml/CMakeLists.txt", "set(GGML_VERSION_MAJOR 0)\nset(GGML_VERSION_MINOR 25)\n", "ggml  pkg:github/ggml-org/ggml MIT"},
		"miniaudio":                     {"vendor/miniaudio/miniaudio.h", "#define MA_VERSION_MAJOR    0\n#define MA_VERSION_MINOR    11\n#define MA_VERSION_REVISION 25\n", "miniaudio 0.11.25 pkg:github/mackron/miniaudio@0.11.25 MIT-0 OR Unlicense"},
		"nlohmann-json":                 {"common/json.hpp", "  #if NLOHMANN_JSON_VERSION_MAJOR != 9\n#define NLOHMANN_JSON_VERSION_MAJOR 3   // NOLINT\n#define NLOHMANN_JSON_VERSION_MINOR 12  // NOLINT\n#define NLOHMANN_JSON_VERSION_PATCH 0   // NOLINT\n", "nlohmann-json 3.12.0 pkg:github/nlohmann/json@v3.12.0 MIT"},
		"stb_image, which has no tags":  {"vendor/stb/stb_image.h", "/* stb_image - v2.30 - public domain image loader\n", "stb_image 2.30 pkg:github/nothings/stb MIT OR Unlicense"},
		"xxHash":                        {"vendor/hash/xxhash/xxhash.h", "#define XXH_VERSION_MAJOR    0\n#define XXH_VERSION_MINOR    8\n#define XXH_VERSION_RELEASE  3\n", "xxHash 0.8.3 pkg:github/cyan4973/xxhash@v0.8.3 BSD-2-Clause"},
		"minja, which says no version":  {"common/minja/minja.hpp", "#define MINJA_VERSION 1\n", "minja  pkg:github/google/minja MIT"},
		"base64.hpp of unknown origin":  {"common/base64.hpp", "/* unlicense.org */\n", "base64.hpp   Unlicense"},
		"sha1, which SPDX has no id of": {"vendor/hash/sha1/sha1.h", "", "sha1  pkg:github/clibs/sha1 LicenseRef-sha1-public-domain"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := attest.Vendored(map[string][]byte{c.path: []byte(c.content), "src/llama.cpp": nil})
			if len(got) != 1 || got[0].Kind != attest.KindVendored {
				t.Fatalf("got %+v", got)
			}
			p := got[0]
			if is := strings.Join([]string{p.Name, p.Version, p.PURL, p.Licence}, " "); is != c.want {
				t.Errorf("got %q, want %q", is, c.want)
			}
			document(t, p)
		})
	}
}

// A single-file library is told by its digest, also where its version is not.
func TestVendoredDigest(t *testing.T) {
	t.Parallel()
	content := []byte("/* subprocess.h */\n")
	sum := sha256.Sum256(content)
	got := attest.Vendored(map[string][]byte{"vendor/sheredom/subprocess.h": content})
	if diff := cmp.Diff([]attest.Package{{
		Kind: attest.KindVendored, Name: "subprocess.h", PURL: "pkg:github/sheredom/subprocess.h", Licence: "Unlicense",
		Source: "https://github.com/sheredom/subprocess.h", Checksums: map[string]string{"SHA256": hex.EncodeToString(sum[:])},
	}}, got); diff != "" {
		t.Error(diff)
	}
}

// Every file that callers read is of use, and a tree that has one component at an old
// and at the new place has it once.
func TestVendorFiles(t *testing.T) {
	t.Parallel()
	if !slices.IsSorted(attest.VendorFiles) || len(slices.Compact(slices.Clone(attest.VendorFiles))) != len(attest.VendorFiles) {
		t.Errorf("not sorted, or not each once: %v", attest.VendorFiles)
	}
	all := map[string][]byte{}
	for _, f := range attest.VendorFiles {
		all[f] = nil
		if got := attest.Vendored(map[string][]byte{f: nil}); len(got) != 1 {
			t.Errorf("%s: got %v", f, got)
		}
	}
	got := attest.Vendored(all)
	var names []string
	for _, p := range got {
		names = append(names, p.Name)
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("not sorted, or not each once: %v", names)
	}
	if len(attest.Vendored(nil)) != 0 {
		t.Error("an empty tree has components")
	}
	document(t, got...)
}
