package images

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// Facts are what had to be looked up for a request. A zero field is not looked up yet; the
// plan lists it as pending instead of guessing.
type Facts struct {
	Source SourceFacts `json:"source"`
	// Builder is the platform that steps run on, such as linux/amd64. If it is empty, the
	// builder is assumed to have the image's own platform.
	Builder string    `json:"builder,omitempty"`
	Build   BaseFacts `json:"build_base"`
	// Runtime is the runtime base that the user named; zero if the image's root is made
	// from packages.
	Runtime BaseFacts `json:"runtime_base,omitzero"`
	// Accelerator is the image that the GPU backend is compiled on, if it is not Build.
	Accelerator BaseFacts `json:"accelerator_base,omitzero"`
	// Unreachable are accelerators' bases, by normalised name, that no registry provided.
	Unreachable []string `json:"unreachable,omitempty"`
	// Packages are those of a lock; nil for the newest ones in the archives.
	Packages *PackageSets `json:"packages,omitempty"`
	// Snapshots are archives that keep package versions which the regular mirrors delete.
	Snapshots []string `json:"snapshots,omitempty"`
	// GPU is the report of the driver on the machine that will run the image; nil if it was
	// not queried. Only CUDAAuto uses it.
	GPU *GPUFacts `json:"gpu,omitempty"`
	// Scripts is the digest of the build scripts. It makes an image of a program with
	// other scripts not count as a match.
	Scripts string `json:"scripts,omitempty"`
	// CPULevel is the best level of the machine that will run the image. Only CPUNative
	// uses it.
	CPULevel string `json:"cpu_level,omitempty"`
}

// SourceFacts describe one source tree.
type SourceFacts struct {
	Kind SourceKind `json:"kind,omitempty"`
	// Commit is the full id, 40 hexadecimal digits.
	Commit string `json:"commit,omitempty"`
	// Dirty is true if the tree differs from Commit.
	Dirty bool `json:"dirty,omitempty"`
	// Content is the digest of the tree's files. It is set if Commit does not identify
	// them: the tree differs from Commit, or is a folder of a larger tree.
	Content string `json:"content,omitempty"`
	// TreeID is git's id of the commit's tree, if it is known.
	TreeID string `json:"tree_id,omitempty"`
	// Tag is the release tag of Commit, if it has a known one.
	Tag string `json:"tag,omitempty"`
	// Depth is the number of commits up to and including Commit; 0 if the history is
	// not available.
	Depth int `json:"depth,omitempty"`
	// Time is the commit's time; zero if only the builder knows it.
	Time time.Time `json:"time,omitzero"`
	// Tree describes the tree's content; nil until it has been read.
	Tree *Tree `json:"tree,omitempty"`
}

// BaseFacts describe a base image as a builder or registry reported it.
type BaseFacts struct {
	// Ref is the normalised name.
	Ref string `json:"ref,omitempty"`
	// Digest pins a registry image (or the manifest in Layout); empty for an
	// image that exists only in an engine's graphdriver store.
	Digest string `json:"digest,omitempty"`
	// ID identifies the image in an engine's own store, if it has no digest that a
	// registry would know.
	ID string `json:"id,omitempty"`
	// Layout is true if the image comes from an OCI layout on this machine.
	Layout bool `json:"layout,omitempty"`
	// Env is the base's environment. LLB does not inherit it by itself.
	Env []string `json:"env,omitempty"`
}

// Tree is what a plan needs to know about a source tree.
type Tree struct {
	// Version is the version in the tree's CMakeLists.txt, such as 0.5.0; empty for
	// trees older than llama.cpp's first version.
	Version string `json:"version,omitempty"`
	// ServerDir is the server's folder: tools/server, or examples/server before b5300.
	ServerDir string `json:"server_dir"`
	// Licences are the licence files at the tree's top, sorted.
	Licences []string `json:"licences,omitempty"`
	// Layout is the finest split into compile steps that the tree supports. LayoutWhy
	// says what it lacks for a finer one.
	Layout    Layout `json:"layout,omitempty"`
	LayoutWhy string `json:"layout_why,omitempty"`
	// UI is true if the tree's web UI can be built apart from its server.
	UI bool `json:"ui,omitempty"`
	// UILock is the digest of the lock file of the web UI's packages.
	UILock string `json:"ui_lock,omitempty"`
	// UIInside is true if the server's sources include a prebuilt web UI.
	UIInside bool `json:"ui_inside,omitempty"`
	// Options are llama.cpp's and ggml's CMake options that the tree's CMake files declare.
	// Backends are the ggml backends that the tree has. Both are sorted.
	Options  []string `json:"options,omitempty"`
	Backends []string `json:"backends,omitempty"`
}

// TreeFiles are the paths that ReadTree reads.
var TreeFiles = []string{
	"CMakeLists.txt",
	"ggml/CMakeLists.txt",
	"tools/server/CMakeLists.txt",
	"examples/server/CMakeLists.txt",
	"LICENSE",
	"common/CMakeLists.txt",
	"ggml/src/CMakeLists.txt",
	"ggml/src/ggml-cpu/CMakeLists.txt",
	"src/CMakeLists.txt",
	"tools/CMakeLists.txt",
	"tools/mtmd/CMakeLists.txt",
	"vendor/CMakeLists.txt",
	uiLock,
	uiCMake,
}

var (
	projectLine = regexp.MustCompile(`(?mi)^\s*project\s*\(\s*"?llama\.cpp"?[\s)]`)
	versionPart = regexp.MustCompile(`(?m)^\s*set\s*\(\s*LLAMA_VERSION_(MAJOR|MINOR|PATCH)\s+([0-9]+)\s*\)`)
)

// ReadTree reads a llama.cpp tree from the contents of TreeFiles. The map lacks files
// that the tree does not have. Any other tree is a fault.Usage.
func ReadTree(files map[string][]byte) (*Tree, error) {
	var t Tree
	top, ok := files["CMakeLists.txt"]
	switch {
	case !ok:
		return nil, noLlama("it has no CMakeLists.txt at its top")
	case !projectLine.Match(top):
		return nil, noLlama(`its CMakeLists.txt does not declare the project "llama.cpp"`)
	}
	if _, ok := files["ggml/CMakeLists.txt"]; !ok {
		return nil, noLlama("it has no ggml/CMakeLists.txt; trees from before ggml was a folder of its own (mid 2024) are not supported")
	}
	for _, d := range []string{"tools/server", "examples/server"} {
		if _, ok := files[d+"/CMakeLists.txt"]; ok {
			t.ServerDir = d
			break
		}
	}
	if t.ServerDir == "" {
		return nil, noLlama("it has no server in tools/server or examples/server")
	}
	parts := map[string]string{}
	for _, m := range versionPart.FindAllSubmatch(top, -1) {
		parts[string(m[1])] = string(m[2])
	}
	if len(parts) == 3 {
		t.Version = parts["MAJOR"] + "." + parts["MINOR"] + "." + parts["PATCH"]
	}
	if _, ok := files["LICENSE"]; ok {
		t.Licences = []string{"LICENSE"}
	}
	t.Layout, t.LayoutWhy = layoutOf(files)
	if t.UI = hasUI(files); t.UI {
		t.UILock = fmt.Sprintf("sha256:%x", sha256.Sum256(files[uiLock]))
	}
	t.UIInside = uiAsset.Match(files[t.ServerDir+"/CMakeLists.txt"])
	t.Options, t.Backends = namesIn(files, optionLine), namesIn(files, backendLine)
	return &t, nil
}

func noLlama(why string) error {
	return fault.New(fault.Usage, "the source is not a llama.cpp tree", fmt.Errorf("%s", why),
		"name a llama.cpp repository, directory or bundle with `source`")
}

var buildTag = regexp.MustCompile(`^b([0-9]{1,7})$`)

// BuildNumber is llama.cpp's build number, the length of its history: from the tag
// (b5000) or from the known history, else 0. A history of one commit is shallow or
// squashed and gives no number.
func (f SourceFacts) BuildNumber() string {
	if m := buildTag.FindStringSubmatch(f.Tag); m != nil {
		return m[1]
	}
	if f.Depth > 1 {
		return strconv.Itoa(f.Depth)
	}
	return "0"
}

// Short is the abbreviated commit, with -dirty if the tree differs from it.
func (f SourceFacts) Short() string {
	s := f.Commit
	if len(s) > 7 {
		s = s[:7]
	}
	if f.Dirty {
		s += "-dirty"
	}
	return s
}

// Version is the best available name of the tree: its tag, else its own version and
// commit, else the commit.
func (f SourceFacts) Version() string {
	switch {
	case f.Tag != "" && !f.Dirty:
		return strings.TrimPrefix(f.Tag, "v")
	case f.Tree != nil && f.Tree.Version != "":
		return f.Tree.Version + "+" + f.Short()
	}
	return f.Short()
}
