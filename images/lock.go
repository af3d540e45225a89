package images

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// LockSchema is the version of Lock's format. It is raised when a field changes its meaning.
const LockSchema = 1

// LockFile is the usual name of a lock.
const LockFile = "llorch.lock"

// LockJSONSchema describes a lock for other programs (JSON Schema, draft 2020-12).
//
//go:embed llorch.lock.schema.json
var LockJSONSchema []byte

// Lock is everything that an image consists of, by content. With it, a later build makes
// the same image, or reports what is no longer available. People read and compare the
// file, so its form is canonical.
type Lock struct {
	Schema int `json:"schema"`
	// Recipe identifies how this program builds. With another recipe, the same inputs may
	// give other bytes.
	Recipe  LockRecipe  `json:"recipe"`
	Source  LockSource  `json:"source"`
	Request LockRequest `json:"request"`
	// Platforms holds what differs between platforms, by platform name.
	Platforms map[string]LockPlatform `json:"platforms"`
	// Model is the model that the server serves; zero for a lock of an image alone.
	Model LockModel `json:"model,omitzero"`
}

// LockModel is a model by content. It is not part of the image.
type LockModel struct {
	// Ref is the requested reference. Updating the model resolves it again.
	Ref string `json:"ref"`
	// Pinned is the reference that means exactly these files.
	Pinned string `json:"pinned"`
	// Commit is the commit on the Hub; empty for a model from elsewhere.
	Commit string `json:"commit,omitempty"`
	// Files are all files of the model. The first is the one that the server is given.
	Files []LockFileHash `json:"files"`
}

// LockFileHash is one file of a model.
type LockFileHash struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// LockRecipe identifies the version of the build process.
type LockRecipe struct {
	Number int `json:"number"`
	// Scripts is the digest of the scripts that run in the steps.
	Scripts string `json:"scripts"`
}

// LockSource is the tree that is compiled.
type LockSource struct {
	Repository string `json:"repository"`
	Ref        string `json:"ref,omitempty"`
	// Commit is the full commit id, Tree git's id of its tree.
	Commit string `json:"commit"`
	Tree   string `json:"tree,omitempty"`
	// Time is the commit's time. Everything in the image has this time.
	Time time.Time `json:"time"`
	// Tag and Depth determine the server's version.
	Tag   string `json:"tag,omitempty"`
	Depth int    `json:"depth,omitempty"`
	// UILock is the sha256 of the web UI's package lock, which pins the UI's packages;
	// empty if this build does not make a web UI.
	UILock string `json:"ui_lock,omitempty"`
}

// LockRequest is the part of the request that determines the image's content.
type LockRequest struct {
	Variant  string   `json:"variant"`
	CPU      string   `json:"cpu"`
	CUDA     string   `json:"cuda,omitempty"`
	CUDAArch []string `json:"cuda_arch,omitempty"`
	CMake    []string `json:"cmake_flags,omitempty"`
	Programs []string `json:"programs,omitempty"`
	NoUI     bool     `json:"no_ui,omitempty"`
}

// LockPlatform is what one platform's image consists of, besides the source.
type LockPlatform struct {
	// Builder is the platform that the steps run on, if it is another one. The toolchain
	// is for that platform, the runtime packages for the image's.
	Builder string    `json:"builder,omitempty"`
	Build   BaseFacts `json:"build_base"`
	// Runtime is the runtime base that the user named.
	Runtime     BaseFacts `json:"runtime_base,omitzero"`
	Accelerator BaseFacts `json:"accelerator_base,omitzero"`
	// Snapshots are archives that keep every release of the distribution's packages, as of
	// the time of the lock.
	Snapshots []string `json:"snapshots,omitempty"`
	// Packages are all packages that are added to the bases, with their dependencies.
	Packages PackageSets `json:"packages"`
}

// PackageSets are the distribution packages of a build, by purpose.
type PackageSets struct {
	Toolchain   []Package `json:"toolchain"`
	Accelerator []Package `json:"accelerator,omitempty"`
	UI          []Package `json:"ui,omitempty"`
	Runtime     []Package `json:"runtime,omitempty"`
}

// MakeLock makes a lock from a plan without pending facts and from the packages that a
// builder resolved for it.
func MakeLock(r Request, f Facts, p Plan, sets PackageSets) (Lock, error) {
	switch {
	case len(p.Pending) > 0:
		return Lock{}, fmt.Errorf("cannot lock a plan that has facts pending: %s", strings.Join(p.Pending, ", "))
	case p.Source.Dirty || p.Source.Content != "":
		return Lock{}, fault.New(fault.Usage, "cannot lock a tree with uncommitted changes", errors.New("other machines do not have them"), "commit the changes, or name a commit with `ref`")
	case f.Source.Time.IsZero():
		return Lock{}, fault.New(fault.Machine, "cannot lock the source", errors.New("the commit's time is unknown"), "")
	}
	on := LockPlatform{Build: p.Build, Runtime: p.Runtime.Base, Packages: sets}
	if p.Cross != nil {
		on.Builder = p.Cross.Builder
	}
	if a := p.Accelerator; a != nil && a.Base.Ref != p.Build.Ref {
		on.Accelerator = a.Base
	}
	l := Lock{
		Schema: LockSchema,
		Recipe: LockRecipe{Number: recipeVersion, Scripts: p.Scripts},
		Source: LockSource{
			Repository: p.Source.Location, Ref: p.Source.Ref, Commit: p.Source.Commit, Tree: f.Source.TreeID,
			Time: f.Source.Time.UTC().Truncate(time.Second), Tag: f.Source.Tag, Depth: f.Source.Depth,
		},
		Request:   LockRequest{Variant: p.Variant, CPU: p.CPU.Level, CMake: r.CMakeFlags, Programs: r.Programs, NoUI: r.NoUI},
		Platforms: map[string]LockPlatform{p.Platform: on},
	}
	if p.UI != nil {
		l.Source.UILock = f.Source.Tree.UILock
	}
	if p.CUDA != nil {
		l.Request.CUDA = p.CUDA.Version
		// "auto" and "all" can mean other architectures on another machine or in another
		// version of this program, so the lock has the architectures.
		for _, arch := range p.CUDA.Archs {
			l.Request.CUDAArch = append(l.Request.CUDAArch, strings.TrimSuffix(arch, "-real"))
		}
	}
	if part, err := l.check(); err != nil {
		return Lock{}, fault.New(fault.Usage, "cannot lock this build: "+part, err, "")
	}
	return l, nil
}

// Encode writes a lock in its canonical form.
func (l Lock) Encode() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(l)
	return out.Bytes(), err
}

// DecodeLock reads a lock. A lock that is not in canonical form, or that has an unknown
// field or an invalid value, is a fault.Usage that names the part.
func DecodeLock(data []byte) (Lock, error) {
	wrong := func(part string, err error) error {
		return fault.New(fault.Usage, "invalid lock: "+part, err, "write a new lock: llorch-bk lock")
	}
	var l Lock
	var about struct {
		Schema int `json:"schema"`
	}
	var syntax *json.SyntaxError
	if err := json.Unmarshal(data, &about); errors.As(err, &syntax) {
		return l, wrong("not JSON", err)
	} else if err != nil {
		return l, wrong("schema", err)
	}
	if about.Schema != LockSchema {
		return l, wrong("schema", fmt.Errorf("got version %d, want %d", about.Schema, LockSchema))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return l, wrong("a field", err)
	}
	if part, err := l.check(); err != nil {
		return l, wrong(part, err)
	}
	// Of two fields with the same name the decoder takes the last, and it ignores case.
	// Other readers may read something else.
	var has, want bytes.Buffer
	form, err := l.Encode()
	if err := errors.Join(err, json.Compact(&has, data), json.Compact(&want, form)); err != nil {
		return l, err
	}
	if !bytes.Equal(has.Bytes(), want.Bytes()) {
		return l, wrong("not in canonical form", fmt.Errorf("llorch-bk writes it differently at %q", differing(has.Bytes(), want.Bytes())))
	}
	return l, nil
}

// request is the request of a lock for one of its platforms.
func (l Lock) request(platform string) Request {
	p := l.Platforms[platform]
	return Request{
		Source: l.Source.Repository, Ref: l.Source.Commit, Variant: l.Request.Variant, Platform: platform, CPU: l.Request.CPU, CUDAArch: l.Request.CUDAArch,
		CMakeFlags: l.Request.CMake, Programs: l.Request.Programs, NoUI: l.Request.NoUI,
		RuntimeBase: p.Runtime.Ref, AcceleratorBase: p.Accelerator.Ref,
	}
}

// Locked returns the request and the facts of a lock for one platform. tags name the
// image; a lock has no tags. The error is a fault.Usage if this program builds differently
// from the one that wrote the lock, or if the lock does not have the platform.
func (l Lock) Locked(platform string, tags []string, scripts string) (Request, Facts, error) {
	differs := func(part, has, want string) error {
		return fault.New(fault.Usage, "cannot build from the lock: "+part, fmt.Errorf("the lock has %s, this program %s", want, has), "write a new lock with llorch-bk lock, or use the version of llorch-bk that wrote this one")
	}
	if l.Recipe.Number != recipeVersion {
		return Request{}, Facts{}, differs("recipe.number", fmt.Sprint(recipeVersion), fmt.Sprint(l.Recipe.Number))
	}
	if l.Recipe.Scripts != scripts {
		return Request{}, Facts{}, differs("recipe.scripts", scripts, l.Recipe.Scripts)
	}
	p, ok := l.Platforms[platform]
	if !ok {
		return Request{}, Facts{}, fault.New(fault.Usage, "the lock is not for this platform", fmt.Errorf("it has no %s", platform), "add the platform: llorch-bk lock `platform="+platform+"`")
	}
	r := l.request(platform)
	r.Tags = tags
	f := Facts{
		Source:  SourceFacts{Commit: l.Source.Commit, TreeID: l.Source.Tree, Tag: l.Source.Tag, Depth: l.Source.Depth, Time: l.Source.Time},
		Builder: cmp.Or(p.Builder, platform),
		Build:   p.Build, Runtime: p.Runtime, Accelerator: p.Accelerator, Packages: &p.Packages, Snapshots: p.Snapshots, Scripts: scripts,
	}
	if l.Source.UILock != "" {
		f.Source.Tree = &Tree{UILock: l.Source.UILock}
	}
	return r, f, nil
}

// Asks is the request of a lock for one platform, with the ref instead of the commit. The
// lock must have the platform.
func (l Lock) Asks(platform string) Request {
	r := l.request(platform)
	r.Ref = l.Source.Ref
	return r
}

// Recipe identifies this program's build process with these scripts.
func Recipe(scripts string) LockRecipe { return LockRecipe{Number: recipeVersion, Scripts: scripts} }

// Bases maps the digests of a platform's base images to their fields in the lock.
func (l Lock) Bases(platform string) map[string]string {
	p := l.Platforms[platform]
	out := map[string]string{}
	for _, base := range []struct {
		part  string
		facts BaseFacts
	}{{"accelerator_base", p.Accelerator}, {"runtime_base", p.Runtime}, {"build_base", p.Build}} {
		if base.facts.Digest != "" {
			out[base.facts.Digest] = base.part
		}
	}
	return out
}
