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

// Facts are what had to be looked up for a request. A zero field is a fact that
// is still to be looked up; the plan says so instead of guessing.
type Facts struct {
	Source SourceFacts `json:"source"`
	// Builder is the platform that steps run on, as linux/amd64; empty where it is not
	// known, and is taken for the image's own.
	Builder string    `json:"builder,omitempty"`
	Build   BaseFacts `json:"build_base"`
	// Runtime is what the user's own runtime base is; nothing where the root is made of
	// packages' files.
	Runtime BaseFacts `json:"runtime_base,omitzero"`
	// Accelerator is what the backend for GPUs is compiled on, where that is
	// another base than Build.
	Accelerator BaseFacts `json:"accelerator_base,omitzero"`
	// Unreachable are bases of accelerators, by their normalised names, that no
	// registry gives.
	Unreachable []string `json:"unreachable,omitempty"`
	// Packages are those of a lock; nil for whatever the archives have.
	Packages *PackageSets `json:"packages,omitempty"`
	// Snapshots are archives that keep packages which others no longer have.
	Snapshots []string `json:"snapshots,omitempty"`
	// GPU is what the driver of the machine that will run the image says; nil where
	// nobody asked it. It answers CUDAAuto and nothing else.
	GPU *GPUFacts `json:"gpu,omitempty"`
	// Scripts is the digest of the scripts that carry a plan out, so that a
	// program whose scripts changed does not take an older one's image for its own.
	Scripts string `json:"scripts,omitempty"`
	// CPULevel is the best level of the machine that will run the image; it
	// answers CPUNative and nothing else.
	CPULevel string `json:"cpu_level,omitempty"`
}

// SourceFacts describe one tree.
type SourceFacts struct {
	Kind SourceKind `json:"kind,omitempty"`
	// Commit is the full 40-digit id.
	Commit string `json:"commit,omitempty"`
	// Dirty is true where the tree differs from Commit.
	Dirty bool `json:"dirty,omitempty"`
	// Content is the digest of the tree's files where Commit alone does not say what
	// they are: in a tree that differs from it, or that is a folder of a larger one.
	Content string `json:"content,omitempty"`
	// TreeID is git's id of the commit's files, where it is at hand.
	TreeID string `json:"tree_id,omitempty"`
	// Tag is the release tag of Commit, where one is known.
	Tag string `json:"tag,omitempty"`
	// Depth is the number of commits up to and including Commit, 0 where the
	// history is not at hand.
	Depth int `json:"depth,omitempty"`
	// Time is when Commit was made; zero where only the builder has it.
	Time time.Time `json:"time,omitzero"`
	// Tree is what the tree looks like; nil until somebody has read it.
	Tree *Tree `json:"tree,omitempty"`
}

// BaseFacts describe a base image as a builder or registry gave it.
type BaseFacts struct {
	// Ref is the normalised name.
	Ref string `json:"ref,omitempty"`
	// Digest pins a registry image (or the manifest in Layout); empty for an
	// image that exists only in an engine's graphdriver store.
	Digest string `json:"digest,omitempty"`
	// ID names the image in an engine's own store, where it has no digest that
	// could be fetched by.
	ID string `json:"id,omitempty"`
	// Layout is true where the image comes from an OCI layout of this machine.
	Layout bool `json:"layout,omitempty"`
	// Env is the base's environment, which LLB does not bring along by itself.
	Env []string `json:"env,omitempty"`
}

// Tree is what a plan needs to know of a source tree.
type Tree struct {
	// Version is what the tree's CMakeLists.txt calls itself, as 0.5.0; empty
	// before llama.cpp had versions.
	Version string `json:"version,omitempty"`
	// ServerDir is where the server lives: tools/server, or examples/server before b5300.
	ServerDir string `json:"server_dir"`
	// Licences are the licence files at the tree's top, sorted.
	Licences []string `json:"licences,omitempty"`
	// Layout is into how many steps the tree can be taken apart, and LayoutWhy
	// what it lacks for the best.
	Layout    Layout `json:"layout,omitempty"`
	LayoutWhy string `json:"layout_why,omitempty"`
	// UI is true where the tree's web UI can be built apart from its server.
	UI bool `json:"ui,omitempty"`
	// UILock is the digest of the lock file of the web UI's packages.
	UILock string `json:"ui_lock,omitempty"`
	// UIInside is true where the server has its web UI ready among its sources.
	UIInside bool `json:"ui_inside,omitempty"`
	// Options are the definitions of llama.cpp's own that the tree's CMake files know,
	// and Backends those of ggml's that it has, sorted.
	Options  []string `json:"options,omitempty"`
	Backends []string `json:"backends,omitempty"`
}

// TreeFiles are the paths that ReadTree asks for.
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

// ReadTree recognises llama.cpp by the contents of TreeFiles; a file that the
// tree does not have is absent from the map. A tree that is something else is a
// fault.Usage.
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

// BuildNumber is llama.cpp's build number, which is the length of its history:
// from the tag (b5000) or from a history that is at hand, else 0. A history of
// one commit is a shallow or squashed one and says nothing.
func (f SourceFacts) BuildNumber() string {
	if m := buildTag.FindStringSubmatch(f.Tag); m != nil {
		return m[1]
	}
	if f.Depth > 1 {
		return strconv.Itoa(f.Depth)
	}
	return "0"
}

// Short is the commit as people write it, with -dirty where the tree differs.
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

// Version is the best name there is for the tree: its tag, else its own
// version and commit, else the commit.
func (f SourceFacts) Version() string {
	switch {
	case f.Tag != "" && !f.Dirty:
		return strings.TrimPrefix(f.Tag, "v")
	case f.Tree != nil && f.Tree.Version != "":
		return f.Tree.Version + "+" + f.Short()
	}
	return f.Short()
}
