package images

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/llorch/llorch-bk/images/fault"
)

// Places inside an image and names that both sides of a plan agree on.
const (
	// AppDir holds the server and its libraries; ggml loads its backends from
	// the folder of the executable.
	AppDir = "/app"
	// Server is the server's path in the image.
	Server = AppDir + "/llama-server"
	// Probe is the static health probe's path in the image.
	Probe = AppDir + "/llorch-probe"
	// Port is what the server listens on inside its container.
	Port = 8080
	// User runs the server: numeric, so that Kubernetes' runAsNonRoot can check it.
	User = "65532:65532"
	// target is the CMake target of the server.
	target = "llama-server"
)

// PlanSchema is raised when a field of Plan changes its meaning.
const PlanSchema = 2

// Plan is everything that an image is made of. It can be printed, hashed and
// compared; building it makes no further decision.
type Plan struct {
	Schema   int    `json:"schema"`
	Variant  string `json:"variant"`
	Platform string `json:"platform"`
	// Cross is how the image is compiled on another platform than its own; nil for one
	// that compiles for itself.
	Cross  *PlanCross `json:"cross,omitempty"`
	Source PlanSource `json:"source"`
	Build  BaseFacts  `json:"build_base"`
	// Packages are what compiling takes on the build base.
	Packages []Package   `json:"packages"`
	Runtime  PlanRuntime `json:"runtime"`
	CPU      PlanCPU     `json:"cpu"`
	// Accelerator is the backend for GPUs; nil for none.
	Accelerator *PlanAccelerator `json:"accelerator,omitempty"`
	CUDA        *PlanCUDA        `json:"cuda,omitempty"`
	// Snapshots are archives that keep every release of the distribution's packages.
	Snapshots []string  `json:"snapshots,omitempty"`
	CMake     PlanCMake `json:"cmake"`
	// Parts are the steps of the compile, in an order in which each comes after
	// what it needs; the last one links the server.
	Parts []Part `json:"parts"`
	// UI is the server's web UI; nil for none, and UIWhy says why.
	UI    *PlanUI     `json:"ui,omitempty"`
	UIWhy string      `json:"ui_why,omitempty"`
	Image ImageConfig `json:"image"`
	// Scripts is Facts.Scripts.
	Scripts string `json:"scripts,omitempty"`
	// Recipe is the digest of everything that makes the image's content; empty
	// while something is pending.
	Recipe string `json:"recipe_digest,omitempty"`
	// Fit is the digest of what was asked and of the commit, but not of the CPU
	// level nor of a base's momentary digest: an image with the same Fit does
	// the same job.
	Fit string `json:"fit_digest,omitempty"`
	// Pending are the facts that are still to be looked up.
	Pending []string `json:"pending,omitempty"`
	// Notes are for a person: what was asked for and will most likely do nothing.
	Notes []string `json:"notes,omitempty"`
}

// PlanSource is the tree that is compiled.
type PlanSource struct {
	Kind     SourceKind `json:"kind"`
	Location string     `json:"location"`
	Ref      string     `json:"ref,omitempty"`
	Commit   string     `json:"commit,omitempty"`
	Dirty    bool       `json:"dirty,omitempty"`
	// Content is SourceFacts.Content.
	Content string `json:"content,omitempty"`
	Version string `json:"version,omitempty"`
	// BuildNumber and Short are what the server says of itself in build_info.
	BuildNumber string   `json:"build_number"`
	Short       string   `json:"short,omitempty"`
	Licences    []string `json:"licences,omitempty"`
	// Created is the commit's time as RFC 3339, empty where it is not known.
	Created string `json:"created,omitempty"`
	// Layout is how far the tree is taken apart; LayoutWhy is why not all the way.
	Layout    Layout `json:"layout,omitempty"`
	LayoutWhy string `json:"layout_why,omitempty"`
	// serverDir is where the tree keeps its server, treeVersion what it calls itself.
	serverDir, treeVersion string
	// uiInside says that the server has a web UI whatever is asked for.
	uiInside bool
}

// Package is a package of a distribution. Name alone means whichever its archive has;
// with the other fields it is that one, whatever the archive has now.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	SHA256       string `json:"sha256,omitempty"`
	// Size is in bytes.
	Size int64 `json:"size,omitempty"`
	// Path is where archives of the distribution have it, below their top.
	Path string `json:"path,omitempty"`
}

// Pinned says that packages are those ones and no others.
func Pinned(all []Package) bool { return len(all) > 0 && all[0].SHA256 != "" }

// PlanCPU says what the image's CPU code is compiled for.
type PlanCPU struct {
	// Level is CPUPortable or the name of a level, never CPUNative.
	Level string `json:"level,omitempty"`
	// RunsOn says in words which machines the image runs on.
	RunsOn string `json:"runs_on,omitempty"`
}

// PlanAccelerator is how the backend for GPUs is compiled, in a toolchain of its own.
type PlanAccelerator struct {
	// Part is the name of its part.
	Part string `json:"part"`
	// Device begins ggml's names of its devices.
	Device     string    `json:"device"`
	Base       BaseFacts `json:"base"`
	Components []string  `json:"components,omitempty"`
	Packages   []Package `json:"packages"`
	// Libraries are sonames that go from its toolchain into the image.
	Libraries []string `json:"libraries,omitempty"`
	// Driver are sonames that the host's driver brings.
	Driver []string `json:"driver,omitempty"`
}

// PlanRuntime is the root that an image's own files are put on.
type PlanRuntime struct {
	// Base is an image that the user named; without one, the root is made of the files
	// of packages of the build base's distribution, and of nothing else.
	Base BaseFacts `json:"base,omitzero"`
	// Packages come with what they depend on; on a base they are installed.
	Packages []Package `json:"packages,omitempty"`
	// Files are packages of which some files are taken, and not what they depend on.
	Files []Package `json:"files,omitempty"`
}

// Made says that the root is made of packages' files.
func (r PlanRuntime) Made() bool { return len(r.Files) > 0 }

// PlanCMake is the configuration of the compile.
type PlanCMake struct {
	Generator string `json:"generator"`
	// Flags are the definitions that all parts share.
	Flags []string `json:"flags"`
	// Rules are sources that are compiled otherwise than CMake says.
	Rules []CompileRule `json:"rules,omitempty"`
	// Libraries are sonames copied from the toolchain beside the server.
	Libraries []string `json:"libraries,omitempty"`
}

// ImageConfig is what the image says of itself.
type ImageConfig struct {
	Tags       []string          `json:"tags,omitempty"`
	User       string            `json:"user"`
	Entrypoint []string          `json:"entrypoint"`
	Env        []string          `json:"env,omitempty"`
	Port       int               `json:"port"`
	Health     []string          `json:"healthcheck"`
	Labels     map[string]string `json:"labels"`
}

// MakePlan turns a request and facts into a plan. The request must be in the
// form that Normalise gives. A fact that is missing leaves its part of the plan
// open and is named in Pending; a fact that contradicts the request is a fault.
func MakePlan(r Request, f Facts) (Plan, error) {
	choice, err := Choose(r, f)
	if err != nil {
		return Plan{}, err
	}
	v := choice.Variant
	cross, err := Cross(r, v, f.Builder)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{
		Schema:   PlanSchema,
		Variant:  v.Name,
		Platform: r.Platform,
		Cross:    cross,
		Source: PlanSource{
			Kind: f.Source.Kind, Location: r.Source, Ref: r.Ref,
			Commit: f.Source.Commit, Dirty: f.Source.Dirty, Content: f.Source.Content,
			BuildNumber: f.Source.BuildNumber(), Short: f.Source.Short(),
		},
		Build:     f.Build,
		Snapshots: f.Snapshots,
		CUDA:      choice.CUDA,
		Scripts:   f.Scripts,
	}
	if f.Source.Commit == "" {
		p.Pending = append(p.Pending, "source.commit")
	}
	if !f.Source.Time.IsZero() {
		p.Source.Created = f.Source.Time.UTC().Format("2006-01-02T15:04:05Z")
	}
	if f.Source.Tree == nil {
		p.Pending = append(p.Pending, "source.tree")
	} else {
		p.Source.Version = f.Source.Version()
		p.Source.Licences = f.Source.Tree.Licences
		p.Source.Layout, p.Source.LayoutWhy = f.Source.Tree.Layout, f.Source.Tree.LayoutWhy
		p.Source.serverDir, p.Source.treeVersion, p.Source.uiInside = f.Source.Tree.ServerDir, f.Source.Tree.Version, f.Source.Tree.UIInside
	}
	buildRef, runtimeRef := BaseRefs(r, v)
	p.Pending = append(p.Pending, fillBase(&p.Build, buildRef, "build_base")...)
	p.Packages = packages(cross.packages(v.Packages, r.Arch()))
	if f.Packages != nil {
		p.Packages = f.Packages.Toolchain
	}
	libraries := v.Libraries
	if runtimeRef == "" {
		p.Runtime = PlanRuntime{Packages: packages(slices.Concat(rootPackages, v.RuntimePackages)), Files: packages(rootFiles)}
		if f.Packages != nil {
			p.Runtime.Packages = f.Packages.Runtime
		}
		libraries = nil
	} else {
		p.Runtime = PlanRuntime{Base: f.Runtime, Packages: packages(v.RuntimePackages)}
		if f.Packages != nil {
			p.Runtime.Packages = f.Packages.Runtime
		}
		p.Pending = append(p.Pending, fillBase(&p.Runtime.Base, runtimeRef, "runtime_base")...)
	}
	if a := v.Accelerator; a != nil {
		p.Accelerator = &PlanAccelerator{Part: a.Name, Device: a.Device, Base: f.Accelerator, Components: a.Components, Packages: packages(a.Packages), Libraries: a.Libraries, Driver: a.Driver}
		if f.Packages != nil {
			p.Accelerator.Packages = f.Packages.Accelerator
		}
		if base := acceleratorBase(r, v); base == buildRef {
			p.Accelerator.Base = p.Build
		} else {
			p.Pending = append(p.Pending, fillBase(&p.Accelerator.Base, base, "accelerator_base")...)
		}
	}
	if err := planCPU(&p, r, f); err != nil {
		return Plan{}, err
	}
	notes, err := checkFlags(f.Source.Tree, r.CMakeFlags, v.backends())
	if err != nil {
		return Plan{}, fault.New(fault.Usage, "this cannot be built as asked", err, "see llorch-bk help build")
	}
	// The server's part knows what the server takes, and nothing of other programs.
	if len(r.Programs) > 0 && p.Source.Layout == LayoutParts {
		p.Source.Layout, p.Source.LayoutWhy = LayoutGGML, "more programs than the server are asked for"
	}
	// What only the backend for GPUs reads must not make everything else another thing.
	own, shared := split(r.CMakeFlags, isAccelerators)
	p.CMake = PlanCMake{Generator: "Ninja", Flags: mergeFlags(slices.Concat(baseFlags(p), cross.flags(r.Arch())), shared), Rules: compileRules(r.Arch(), r.CMakeFlags), Libraries: libraries}
	backendFlags := map[string][]string{CPUBackend.Name: cpuFlags(p)}
	if a := v.Accelerator; a != nil {
		flags := slices.Clone(a.Flags)
		if p.CUDA != nil {
			flags = append(flags, "-DCMAKE_CUDA_ARCHITECTURES="+strings.Join(p.CUDA.Archs, ";"))
		}
		backendFlags[a.Name] = append(overridden(flags, own), own...)
	}
	p.Parts = makeParts(p.Source.Layout, v.backends(), backendFlags, buildFlags(p), isDev(p), r.Programs)
	p.Notes = notes
	if cross != nil {
		p.Notes = append(p.Notes, cross.note(r.Platform))
	}
	if r.NoUI && p.Source.uiInside {
		p.Notes = append(p.Notes, "`no-ui` does nothing here: this source's server has its web UI among its sources, and always compiles it in")
	}
	for i := range p.Parts {
		p.Parts[i].Flags = overridden(p.Parts[i].Flags, shared)
	}
	if p.UI, p.UIWhy = planUI(r, v, f.Source.Tree); p.UI != nil && f.Packages != nil {
		p.UI.Packages = f.Packages.UI
	}
	p.Image = ImageConfig{
		Tags:       r.Tags,
		User:       User,
		Entrypoint: []string{Server},
		Env:        append([]string{"LLAMA_ARG_HOST=0.0.0.0", fmt.Sprintf("LLAMA_ARG_PORT=%d", Port)}, v.Env...),
		Port:       Port,
		Health:     []string{"CMD", Probe, "health"},
	}
	if len(p.Image.Tags) == 0 && p.Source.Short != "" && p.CPU.Level != "" {
		p.Image.Tags = []string{defaultTag(p)}
	}
	if err := p.seal(r); err != nil {
		return Plan{}, err
	}
	p.Image.Labels = labels(p, v)
	return p, nil
}

func packages(names []string) []Package {
	var out []Package
	for _, name := range names {
		out = append(out, Package{Name: name})
	}
	return out
}

// AcceleratorBase is the normalised name of the image that the backend for GPUs
// is compiled on; empty where it is the one of everything else, or there is none.
func AcceleratorBase(r Request, v Variant) string {
	build, _ := BaseRefs(r, v)
	if base := acceleratorBase(r, v); base != build {
		return base
	}
	return ""
}

func acceleratorBase(r Request, v Variant) string {
	build, _ := BaseRefs(r, v)
	switch {
	case v.Accelerator == nil:
		return ""
	case r.AcceleratorBase != "":
		return r.AcceleratorBase
	case v.Accelerator.Base != "":
		return v.Accelerator.Base
	}
	return build
}

// BaseRefs are the normalised names of the images that compiling and running
// start from. A user's base is both, unless another is named to run on. Without
// any, runtime is empty: the image's root is made of packages' files.
func BaseRefs(r Request, v Variant) (build, runtime string) {
	return cmp.Or(r.Base, v.BuildBase), cmp.Or(r.RuntimeBase, r.Base)
}

func fillBase(b *BaseFacts, ref, field string) []string {
	if b.Ref == "" {
		b.Ref = ref
		return []string{field + ".digest"}
	}
	return nil
}

func planCPU(p *Plan, r Request, f Facts) error {
	level := r.CPU
	if level == CPUNative {
		level = f.CPULevel
	}
	switch level {
	case "":
		p.Pending = append(p.Pending, "cpu.level")
	case CPUPortable:
		p.CPU = PlanCPU{level, "any " + r.Arch() + " machine: the best of ggml's CPU backends is chosen when the server starts"}
	default:
		l, err := FindLevel(r.Arch(), level)
		if err != nil {
			return fault.New(fault.Usage, "there is no such CPU level", err, "see llorch-bk help build")
		}
		p.CPU = PlanCPU{l.Name, l.RunsOn}
	}
	return nil
}

// Repository is the name of images that were given no tag.
const Repository = "llorch-bk"

// defaultTag names an image by what it is: the version, the commit where the
// version does not say it, the variant and the CPU level.
func defaultTag(p Plan) string {
	version := p.Source.Version
	if version == "" {
		version = p.Source.Short
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '-'
	}, strings.Join([]string{version, p.Variant, p.CPU.Level}, "-"))
	named, err := reference.ParseNormalizedNamed(Repository + ":" + clean)
	if err != nil {
		// Only a version of absurd length gets here; the commit is always a valid tag.
		return "docker.io/library/" + Repository + ":" + p.Source.Short
	}
	return named.String()
}
