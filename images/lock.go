package images

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
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
	Build BaseFacts `json:"build_base"`
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
		return Lock{}, fault.New(fault.Usage, "a tree with changes cannot be locked", errors.New("nobody else has them"), "commit them, or lock a commit with --ref")
	case f.Source.Time.IsZero():
		return Lock{}, fault.New(fault.Machine, "the source cannot be locked", errors.New("the commit's time is not known"), "")
	}
	l := Lock{
		Schema: LockSchema,
		Recipe: LockRecipe{Number: recipeVersion, Scripts: p.Scripts},
		Source: LockSource{
			Repository: p.Source.Location, Ref: p.Source.Ref, Commit: p.Source.Commit, Tree: f.Source.TreeID,
			Time: f.Source.Time.UTC().Truncate(time.Second), Tag: f.Source.Tag, Depth: f.Source.Depth,
		},
		Request: LockRequest{Variant: p.Variant, CPU: p.CPU.Level, CMake: r.CMakeFlags, Programs: r.Programs, NoUI: r.NoUI},
		Platforms: map[string]LockPlatform{p.Platform: {
			Build: p.Build, Runtime: p.Runtime.Base, Packages: sets,
		}},
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
	if a := p.Accelerator; a != nil && a.Base.Ref != p.Build.Ref {
		lp := l.Platforms[p.Platform]
		lp.Accelerator = a.Base
		l.Platforms[p.Platform] = lp
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

// differing is a piece of has from about where it is no longer as want is.
func differing(has, want []byte) []byte {
	at := 0
	for at < min(len(has), len(want)) && has[at] == want[at] {
		at++
	}
	return has[max(0, at-30):min(len(has), at+30)]
}

var (
	gitID        = regexp.MustCompile(`^[0-9a-f]{40}$`)
	sha256Digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	sha256Hex    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	debName      = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	debVersion   = regexp.MustCompile(`^[A-Za-z0-9.+:~-]+$`)
	debArch      = regexp.MustCompile(`^[a-z0-9-]+$`)
	snapshotURL  = regexp.MustCompile(`^https?://[^\s'"]+$`)
	poolPath     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._%~/-]*\.deb$`)
)

// check names the part of a lock that cannot be right.
func (l Lock) check() (string, error) {
	_, offset := l.Source.Time.Zone()
	switch s := l.Source; {
	case s.Repository == "":
		return "source.repository", errors.New("it is empty")
	case !gitID.MatchString(s.Commit):
		return "source.commit", fmt.Errorf("%q is no full commit id", s.Commit)
	case s.Tree != "" && !gitID.MatchString(s.Tree):
		return "source.tree", fmt.Errorf("%q is no id of git's", s.Tree)
	case s.Time.IsZero():
		return "source.time", errors.New("there is none")
	case offset != 0 || s.Time.Nanosecond() != 0:
		return "source.time", fmt.Errorf("%s is not in UTC and whole seconds", s.Time.Format(time.RFC3339Nano))
	case s.Depth < 0:
		return "source.depth", fmt.Errorf("%d is no number of commits", s.Depth)
	case s.UILock != "" && !sha256Digest.MatchString(s.UILock):
		return "source.ui_lock", fmt.Errorf("%q is no digest", s.UILock)
	case !sha256Digest.MatchString(l.Recipe.Scripts):
		return "recipe.scripts", fmt.Errorf("%q is no digest", l.Recipe.Scripts)
	case len(l.Platforms) == 0:
		return "platforms", errors.New("there is none")
	}
	if part, err := l.Request.check(); err != nil {
		return "request." + part, err
	}
	for _, name := range slices.Sorted(maps.Keys(l.Platforms)) {
		at := "platforms." + name
		if !slices.Contains(Platforms, name) {
			return at, fmt.Errorf("it is not one of %s", strings.Join(Platforms, ", "))
		}
		if part, err := l.Platforms[name].check(); err != nil {
			return at + "." + part, err
		}
		// A set that is empty is no set that is pinned: its step would ask the archives.
		switch sets := l.Platforms[name].Packages; {
		case len(sets.UI) == 0 && l.Source.UILock != "":
			return at + ".packages.ui", errors.New("there is none, so nothing says what builds the web UI")
		case len(sets.Accelerator) == 0 && DeviceOf(l.Request.Variant) != "":
			return at + ".packages.accelerator", fmt.Errorf("there is none, so nothing says what compiles for %s", l.Request.Variant)
		}
		if _, err := l.request(name).Normalise(); err != nil {
			return "request", errors.Unwrap(err)
		}
	}
	return "", nil
}

// check refuses what another machine, or another day, would understand otherwise.
func (r LockRequest) check() (string, error) {
	members, err := findVariants(r.Variant)
	switch {
	case err != nil:
		return "variant", err
	case len(members) > 1:
		return "variant", fmt.Errorf("%q is one of several, which are not pinned", r.Variant)
	case r.CPU == CPUNative:
		return "cpu", fmt.Errorf("%q is another level on each machine", r.CPU)
	case slices.Contains(r.CUDAArch, CUDAAuto) || slices.Contains(r.CUDAArch, CUDAAll):
		return "cuda_arch", fmt.Errorf("%q names no architecture", r.CUDAArch)
	}
	toolkit := ""
	if a := members[0].Accelerator; a != nil && a.CUDA != nil {
		toolkit = a.CUDA.Version
	}
	if r.CUDA != toolkit {
		return "cuda", fmt.Errorf("%q is not what the variant %s has, %q", r.CUDA, r.Variant, toolkit)
	}
	if toolkit != "" && len(r.CUDAArch) == 0 {
		return "cuda_arch", errors.New("there is none")
	}
	return "", nil
}

func (p LockPlatform) check() (string, error) {
	for _, base := range []struct {
		name string
		BaseFacts
	}{{"build_base", p.Build}, {"runtime_base", p.Runtime}, {"accelerator_base", p.Accelerator}} {
		switch {
		case base.name != "build_base" && reflect.ValueOf(base.BaseFacts).IsZero():
		case base.Ref == "":
			return base.name, errors.New("it has no name")
		case !sha256Digest.MatchString(base.Digest):
			return base.name, fmt.Errorf("%q is no digest, without which it is not pinned", base.Digest)
		}
	}
	for _, s := range p.Snapshots {
		if !snapshotURL.MatchString(s) {
			return "snapshots", fmt.Errorf("%q is no address of an archive", s)
		}
	}
	switch {
	case len(p.Packages.Toolchain) == 0:
		return "packages.toolchain", errors.New("there is none, so nothing says what compiles")
	case len(p.Packages.Runtime) == 0 && p.Runtime.Ref == "":
		return "packages.runtime", errors.New("there is none, and no base to run on either")
	}
	for _, set := range []struct {
		name string
		all  []Package
	}{{"toolchain", p.Packages.Toolchain}, {"accelerator", p.Packages.Accelerator}, {"ui", p.Packages.UI}, {"runtime", p.Packages.Runtime}} {
		if err := checkPackages(set.all); err != nil {
			return "packages." + set.name, err
		}
	}
	return "", nil
}

// checkPackages looks at the packages of one set: each is there once, in the order of
// their names, and has a file of its own.
func checkPackages(all []Package) error {
	files := map[string]string{}
	for i, p := range all {
		if err := p.check(); err != nil {
			return err
		}
		if i > 0 && all[i-1].Name >= p.Name {
			if all[i-1].Name == p.Name {
				return fmt.Errorf("%s is there twice", p.Name)
			}
			return fmt.Errorf("%s comes after %s: they are not sorted by name", p.Name, all[i-1].Name)
		}
		// A step has all files of a set in one folder.
		file := path.Base(p.Path)
		if other, ok := files[file]; ok {
			return fmt.Errorf("%s and %s are both %s", other, p.Name, file)
		}
		files[file] = p.Name
	}
	return nil
}

// check says what cannot be right about a package that is pinned.
func (p Package) check() error {
	switch {
	case !debName.MatchString(p.Name):
		return fmt.Errorf("%q is no package's name", p.Name)
	case !debVersion.MatchString(p.Version):
		return fmt.Errorf("%s: %q is no version", p.Name, p.Version)
	case !debArch.MatchString(p.Architecture):
		return fmt.Errorf("%s: %q is no architecture", p.Name, p.Architecture)
	case !sha256Hex.MatchString(p.SHA256):
		return fmt.Errorf("%s: %q is no sha256", p.Name, p.SHA256)
	case !poolPath.MatchString(p.Path) || path.Clean(p.Path) != p.Path:
		return fmt.Errorf("%s: %q is no path in an archive", p.Name, p.Path)
	case p.Size <= 0:
		return fmt.Errorf("%s: a size of %d", p.Name, p.Size)
	}
	return nil
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
		return Request{}, Facts{}, fault.New(fault.Usage, "the lock cannot be kept to: platforms", fmt.Errorf("it has no %s", platform), "lock that one too: llorch-bk lock --platform "+platform)
	}
	r := l.request(platform)
	r.Tags = tags
	f := Facts{
		Source: SourceFacts{Commit: l.Source.Commit, TreeID: l.Source.Tree, Tag: l.Source.Tag, Depth: l.Source.Depth, Time: l.Source.Time},
		Build:  p.Build, Runtime: p.Runtime, Accelerator: p.Accelerator, Packages: &p.Packages, Snapshots: p.Snapshots, Scripts: scripts,
	}
	if l.Source.UILock != "" {
		f.Source.Tree = &Tree{UILock: l.Source.UILock}
	}
	return r, f, nil
}

// Difference is a part of one lock that another has otherwise.
type Difference struct {
	// Part is a path of the lock's fields, as platforms.linux/amd64.packages.toolchain.cmake.
	Part string
	// Old and New are its values; empty where it is not there.
	Old, New string
}

func (d Difference) String() string {
	switch {
	case d.Old == "":
		return d.Part + ": " + d.New + " is new"
	case d.New == "":
		return d.Part + ": " + d.Old + " is gone"
	}
	return d.Part + ": " + d.Old + " → " + d.New
}

// Asks is the request that a lock stands for on one platform, which it must have.
func (l Lock) Asks(platform string) Request {
	r := l.request(platform)
	r.Ref = l.Source.Ref
	return r
}

// Recipe is the part of this program in an image, with these scripts.
func Recipe(scripts string) LockRecipe { return LockRecipe{Number: recipeVersion, Scripts: scripts} }

// Differences are what two locks do not have in common, by part.
func (l Lock) Differences(other Lock) []Difference {
	old, changed := l.flat(), other.flat()
	var out []Difference
	for part, v := range old {
		if changed[part] != v {
			out = append(out, Difference{part, v, changed[part]})
		}
	}
	for part, v := range changed {
		if _, ok := old[part]; !ok {
			out = append(out, Difference{part, "", v})
		}
	}
	slices.SortFunc(out, func(x, y Difference) int { return strings.Compare(x.Part, y.Part) })
	return out
}

// words are strings in one, so that others are not the same.
func words(all []string) string {
	out := make([]string, len(all))
	for i, s := range all {
		if out[i] = s; s == "" || strings.ContainsAny(s, " \"") {
			out[i] = strconv.Quote(s)
		}
	}
	return strings.Join(out, " ")
}

// flat is every value of a lock by its path. A package is one value: its version and
// its hash, wherever an archive has it.
func (l Lock) flat() map[string]string {
	out := map[string]string{}
	var walk func(at string, v reflect.Value)
	walk = func(at string, v reflect.Value) {
		switch value := v.Interface().(type) {
		case time.Time:
			out[at] = value.Format(time.RFC3339)
			return
		case []Package:
			for _, p := range value {
				out[at+"."+p.Name] = p.Version + " " + p.SHA256
			}
			return
		case []string:
			if len(value) > 0 {
				out[at] = words(value)
			}
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				walk(strings.TrimPrefix(at+"."+name, "."), v.Field(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(at+"."+k.String(), v.MapIndex(k))
			}
		default:
			if !v.IsZero() {
				out[at] = fmt.Sprint(v.Interface())
			}
		}
	}
	walk("", reflect.ValueOf(l))
	return out
}
