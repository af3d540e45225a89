package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// component is third-party code in llama.cpp's tree.
type component struct {
	name string
	// repo is its repository on GitHub; empty if its origin is unknown.
	repo string
	// tag is the prefix of versions in the repository's tags, or untagged if versions
	// have no tags.
	tag     string
	licence string
	// text is the text of the LicenseRef- in licence, if it is one.
	text string
	// files are its paths in different trees, newest first.
	files []string
	// single is true if that file is the whole component, so that its digest identifies the
	// exact version.
	single bool
	// version has one pattern for each number of the version; none if the file has no version.
	version []*regexp.Regexp
}

const untagged = "-"

// components are the third-party code in an image's server, by name. Code of examples and
// tests is left out. The licences are those in the files and their repositories.
var components = []component{
	{
		name: "base64.hpp", licence: "Unlicense", single: true,
		files: []string{"common/base64.hpp"},
	},
	{
		name: "cpp-httplib", repo: "yhirose/cpp-httplib", tag: "v", licence: "MIT",
		files:   []string{"vendor/cpp-httplib/httplib.h", "tools/server/httplib.h", "examples/server/httplib.h", "common/httplib.h"},
		version: []*regexp.Regexp{regexp.MustCompile(`(?m)^#define\s+CPPHTTPLIB_VERSION\s+"([0-9.]+)"`)},
	},
	{
		name: "ggml", repo: "ggml-org/ggml", tag: "v", licence: "MIT",
		files: []string{"ggml/CMakeLists.txt"},
		version: []*regexp.Regexp{
			regexp.MustCompile(`(?m)^set\(GGML_VERSION_MAJOR\s+([0-9]+)\)`),
			regexp.MustCompile(`(?m)^set\(GGML_VERSION_MINOR\s+([0-9]+)\)`),
			regexp.MustCompile(`(?m)^set\(GGML_VERSION_PATCH\s+([0-9]+)\)`),
		},
	},
	{
		name: "llamafile-sgemm", repo: "mozilla-ai/llamafile", tag: untagged, licence: "MIT",
		files: []string{"ggml/src/ggml-cpu/llamafile/sgemm.cpp", "ggml/src/llamafile/sgemm.cpp"},
	},
	{
		name: "miniaudio", repo: "mackron/miniaudio", licence: "MIT-0 OR Unlicense", single: true,
		files: []string{"vendor/miniaudio/miniaudio.h", "tools/mtmd/miniaudio.h"},
		version: []*regexp.Regexp{
			defined("MA_VERSION_MAJOR"), defined("MA_VERSION_MINOR"), defined("MA_VERSION_REVISION"),
		},
	},
	{
		name: "minja", repo: "google/minja", tag: untagged, licence: "MIT",
		files: []string{"vendor/minja/minja.hpp", "common/minja/minja.hpp", "common/minja.hpp"},
	},
	{
		name: "nlohmann-json", repo: "nlohmann/json", tag: "v", licence: "MIT", single: true,
		files: []string{"vendor/nlohmann/json.hpp", "common/json.hpp", "examples/server/json.hpp"},
		version: []*regexp.Regexp{
			defined("NLOHMANN_JSON_VERSION_MAJOR"), defined("NLOHMANN_JSON_VERSION_MINOR"), defined("NLOHMANN_JSON_VERSION_PATCH"),
		},
	},
	{
		name: "rotate-bits.h", repo: "jb55/rotate-bits.h", tag: untagged, licence: "MIT", single: true,
		files: []string{"vendor/hash/rotate-bits/rotate-bits.h"},
	},
	{
		name: "sha1", repo: "clibs/sha1", tag: untagged,
		licence: "LicenseRef-sha1-public-domain", text: "SHA-1 in C\nBy Steve Reid <steve@edmweb.com>\n100% Public Domain",
		files: []string{"vendor/hash/sha1/sha1.h"},
	},
	{
		name: "sha256.c", repo: "jb55/sha256.c", tag: untagged,
		licence: "LicenseRef-sha256-public-domain", text: "2010-06-11 : Igor Pavlov : Public domain\nThis code is based on public domain code from Wei Dai's Crypto++ library.",
		files: []string{"vendor/hash/sha256/sha256.h"},
	},
	{
		name: "stb_image", repo: "nothings/stb", tag: untagged, licence: "MIT OR Unlicense", single: true,
		files:   []string{"vendor/stb/stb_image.h", "common/stb_image.h"},
		version: []*regexp.Regexp{regexp.MustCompile(`^/\* stb_image - v([0-9.]+) `)},
	},
	{
		name: "subprocess.h", repo: "sheredom/subprocess.h", tag: untagged, licence: "Unlicense", single: true,
		files: []string{"vendor/sheredom/subprocess.h"},
	},
	{
		name: "xxHash", repo: "Cyan4973/xxHash", tag: "v", licence: "BSD-2-Clause",
		files: []string{"vendor/hash/xxhash/xxhash.h"},
		version: []*regexp.Regexp{
			defined("XXH_VERSION_MAJOR"), defined("XXH_VERSION_MINOR"), defined("XXH_VERSION_RELEASE"),
		},
	},
}

// defined matches the number that a macro is defined as.
func defined(macro string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\s*#\s*define\s+` + macro + `\s+([0-9]+)\b`)
}

// VendorFiles are the paths in llama.cpp's tree that Vendored reads, sorted. No tree has
// all of them.
var VendorFiles = vendorFiles()

func vendorFiles() []string {
	var out []string
	for _, c := range components {
		out = append(out, c.files...)
	}
	slices.Sort(out)
	return out
}

// Vendored describes the third-party code in llama.cpp's tree, sorted by name. files has
// the contents of those VendorFiles that the tree has, by path. The result has no entry
// for a missing file, and no version if the file has none.
func Vendored(files map[string][]byte) []Package {
	var out []Package
	for _, c := range components {
		for _, path := range c.files {
			if content, ok := files[path]; ok {
				out = append(out, c.pack(content))
				break
			}
		}
	}
	return out
}

func (c component) pack(content []byte) Package {
	p := Package{Kind: KindVendored, Name: c.name, Licence: c.licence}
	if c.text != "" {
		p.LicenceTexts = map[string]string{c.licence: c.text}
	}
	var numbers []string
	for _, find := range c.version {
		if m := find.FindSubmatch(content); m != nil {
			numbers = append(numbers, string(m[1]))
		}
	}
	// An incomplete version would be wrong.
	if len(numbers) == len(c.version) {
		p.Version = strings.Join(numbers, ".")
	}
	if owner, name, ok := strings.Cut(c.repo, "/"); ok {
		tag := ""
		if p.Version != "" && c.tag != untagged {
			tag = c.tag + p.Version
		}
		// The purl type github is case-insensitive and written in lower case.
		p.PURL = purl("github", strings.ToLower(owner), strings.ToLower(name), tag, nil)
		p.Source = "https://github.com/" + c.repo
	}
	if c.single {
		sum := sha256.Sum256(content)
		p.Checksums = map[string]string{"SHA256": hex.EncodeToString(sum[:])}
	}
	return p
}
