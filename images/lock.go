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

// LockSchema is raised when a field of Lock changes its meaning.
const LockSchema = 1

// LockFile is the usual name of a lock.
const LockFile = "llorch.lock"

// LockJSONSchema describes a lock to other programs (JSON Schema, draft 2020-12).
//
//go:embed llorch.lock.schema.json
var LockJSONSchema []byte

// Lock is everything that an image is made of, by content: with it, the same image is
// built next year, or the build says what can no longer be had. It is a file that
// people read and compare, so its form is canonical.
type Lock struct {
	Schema int `json:"schema"`
	// Recipe identifies how this program builds: another number may give other bytes of
	// the same inputs.
	Recipe  LockRecipe  `json:"recipe"`
	Source  LockSource  `json:"source"`
	Request LockRequest `json:"request"`
	// Platforms are what differs from one platform to another, by its name.
	Platforms map[string]LockPlatform `json:"platforms"`
	// Model is what the server is to serve; the zero value where the lock is of an image
	// alone.
	Model LockModel `json:"model,omitzero"`
}

// LockModel is a model by its content. It is no part of the image.
type LockModel struct {
	// Ref is what was asked for, and is asked again to move the model.
	Ref string `json:"ref"`
	// Pinned is the ref that means these files alone.
	Pinned string `json:"pinned"`
	// Commit is the Hub's commit; empty for a model that is not of the Hub.
	Commit string `json:"commit,omitempty"`
	// Files are all files of the model, the one that the server is given first.
	Files []LockFileHash `json:"files"`
}

// LockFileHash is one file of a model.
type LockFileHash struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// LockRecipe is the part of this program in an image.
type LockRecipe struct {
	Number int `json:"number"`
	// Scripts is the digest of the scripts that run in the steps.
	Scripts string `json:"scripts"`
}

// LockSource is the tree that is compiled.
type LockSource struct {
	Repository string `json:"repository"`
	Ref        string `json:"ref,omitempty"`
	// Commit is the full id, Tree that of its files in git.
	Commit string `json:"commit"`
	Tree   string `json:"tree,omitempty"`
	// Time is the commit's, and the time of everything in the image.
	Time time.Time `json:"time"`
	// Tag and Depth are what the server's version is made of.
	Tag   string `json:"tag,omitempty"`
	Depth int    `json:"depth,omitempty"`
	// UILock is the sha256 of the lock file of the web UI's packages, which pins them
	// in turn; empty where the image has no UI of its own build.
	UILock string `json:"ui_lock,omitempty"`
}

// LockRequest is what was asked for, as far as it makes the image's content.
type LockRequest struct {
	Variant  string   `json:"variant"`
	CPU      string   `json:"cpu"`
	CUDA     string   `json:"cuda,omitempty"`
	CUDAArch []string `json:"cuda_arch,omitempty"`
	CMake    []string `json:"cmake_flags,omitempty"`
	Programs []string `json:"programs,omitempty"`
	NoUI     bool     `json:"no_ui,omitempty"`
}

// LockPlatform is what an image of one platform is made of beside its source.
type LockPlatform struct {
	// Builder is the platform that the steps run on, where that is another one: its
	// toolchain is of that platform, and the runtime packages are of the image's.
	Builder string    `json:"builder,omitempty"`
	Build   BaseFacts `json:"build_base"`
	// Runtime is a base of the user's own to run on.
	Runtime     BaseFacts `json:"runtime_base,omitzero"`
	Accelerator BaseFacts `json:"accelerator_base,omitzero"`
	// Snapshots are archives that keep every release of the distribution's packages, as
	// of when these were found.
	Snapshots []string `json:"snapshots,omitempty"`
	// Packages are all that are added to the bases, with what they depend on.
	Packages PackageSets `json:"packages"`
}

// PackageSets are the distribution's packages of a build, by what they are for.
type PackageSets struct {
	Toolchain   []Package `json:"toolchain"`
	Accelerator []Package `json:"accelerator,omitempty"`
	UI          []Package `json:"ui,omitempty"`
	Runtime     []Package `json:"runtime,omitempty"`
}

// MakeLock makes a lock of a plan that has nothing pending, and of the packages that a
// builder found for it.
func MakeLock(r Request, f Facts, p Plan, sets PackageSets) (Lock, error) {
	switch {
	case len(p.Pending) > 0:
		return Lock{}, fmt.Errorf("a plan that still waits for %s cannot be locked", strings.Join(p.Pending, ", "))
	case p.Source.Dirty || p.Source.Content != "":
		return Lock{}, fault.New(fault.Usage, "a tree with changes cannot be locked", errors.New("nobody else has them"), "commit them, or lock a commit with `ref`")
	case f.Source.Time.IsZero():
		return Lock{}, fault.New(fault.Machine, "the source cannot be locked", errors.New("the commit's time is not known"), "")
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
		// What "auto" and "all" stand for is another machine's or another program's matter.
		for _, arch := range p.CUDA.Archs {
			l.Request.CUDAArch = append(l.Request.CUDAArch, strings.TrimSuffix(arch, "-real"))
		}
	}
	if part, err := l.check(); err != nil {
		return Lock{}, fault.New(fault.Usage, "this cannot be locked: "+part, err, "")
	}
	return l, nil
}

// Encode writes a lock in its one form.
func (l Lock) Encode() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(l)
	return out.Bytes(), err
}

// DecodeLock reads a lock. One that was edited out of its form, that has a field which
// is not known, or a value that cannot be, is a fault.Usage that names the part.
func DecodeLock(data []byte) (Lock, error) {
	wrong := func(part string, err error) error {
		return fault.New(fault.Usage, "the lock cannot be used: "+part, err, "write it anew: llorch-bk lock")
	}
	var l Lock
	var about struct {
		Schema int `json:"schema"`
	}
	var syntax *json.SyntaxError
	if err := json.Unmarshal(data, &about); errors.As(err, &syntax) {
		return l, wrong("it is no JSON", err)
	} else if err != nil {
		return l, wrong("schema", err)
	}
	if about.Schema != LockSchema {
		return l, wrong("schema", fmt.Errorf("it is %d, and this program reads %d", about.Schema, LockSchema))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return l, wrong("a field", err)
	}
	if part, err := l.check(); err != nil {
		return l, wrong(part, err)
	}
	// Of two fields with one name the decoder takes the last, and it does not mind the
	// case of letters: others may read something else.
	var has, want bytes.Buffer
	form, err := l.Encode()
	if err := errors.Join(err, json.Compact(&has, data), json.Compact(&want, form)); err != nil {
		return l, err
	}
	if !bytes.Equal(has.Bytes(), want.Bytes()) {
		return l, wrong("its form", fmt.Errorf("it is other than llorch-bk writes it, at %q", differing(has.Bytes(), want.Bytes())))
	}
	return l, nil
}

// request is what a lock asks for on one of its platforms.
func (l Lock) request(platform string) Request {
	p := l.Platforms[platform]
	return Request{
		Source: l.Source.Repository, Ref: l.Source.Commit, Variant: l.Request.Variant, Platform: platform, CPU: l.Request.CPU, CUDAArch: l.Request.CUDAArch,
		CMakeFlags: l.Request.CMake, Programs: l.Request.Programs, NoUI: l.Request.NoUI,
		RuntimeBase: p.Runtime.Ref, AcceleratorBase: p.Accelerator.Ref,
	}
}

// Locked is the request and the facts that a lock stands for, on one platform. tags
// name the image, which a lock does not. That this program builds otherwise than the one
// that wrote the lock, or that the lock is not for the platform, is a fault.Usage.
func (l Lock) Locked(platform string, tags []string, scripts string) (Request, Facts, error) {
	differs := func(part, has, want string) error {
		return fault.New(fault.Usage, "the lock cannot be kept to: "+part, fmt.Errorf("it says %s, and this is %s", want, has), "write it anew with llorch-bk lock, or take the program that wrote it")
	}
	if l.Recipe.Number != recipeVersion {
		return Request{}, Facts{}, differs("recipe.number", fmt.Sprint(recipeVersion), fmt.Sprint(l.Recipe.Number))
	}
	if l.Recipe.Scripts != scripts {
		return Request{}, Facts{}, differs("recipe.scripts", scripts, l.Recipe.Scripts)
	}
	p, ok := l.Platforms[platform]
	if !ok {
		return Request{}, Facts{}, fault.New(fault.Usage, "the lock cannot be kept to: platforms", fmt.Errorf("it has no %s", platform), "lock that one too: llorch-bk lock `platform="+platform+"`")
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

// Asks is the request that a lock stands for on one platform, which it must have.
func (l Lock) Asks(platform string) Request {
	r := l.request(platform)
	r.Ref = l.Source.Ref
	return r
}

// Recipe is the part of this program in an image, with these scripts.
func Recipe(scripts string) LockRecipe { return LockRecipe{Number: recipeVersion, Scripts: scripts} }

// Bases are what a platform's image is made on, by digest, with their parts in the lock.
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
