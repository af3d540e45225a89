package images

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/llorch/llorch-bk/images/fault"
)

// Paths inside an image, and other constants that the graph and the plan share.
const (
	// AppDir has the server and its libraries. ggml loads its backends from the folder of
	// the executable.
	AppDir = "/app"
	// Server is the server's path in the image.
	Server = AppDir + "/llama-server"
	// Probe is the static health probe's path in the image.
	Probe = AppDir + "/llorch-probe"
	// Port is the port that the server listens on inside its container.
	Port = 8080
	// User is the user that runs the server. It is numeric so that Kubernetes' runAsNonRoot
	// can check it.
	User = "65532:65532"
	// target is the CMake target of the server.
	target = "llama-server"
)

// PlanSchema is the version of Plan's format. It is raised when a field changes its meaning.
const PlanSchema = 2

// Plan is everything that an image consists of. It can be printed, hashed and compared.
// Building it makes no further decisions.
type Plan struct {
	Schema   int    `json:"schema"`
	Variant  string `json:"variant"`
	Platform string `json:"platform"`
	// Cross says how the image is compiled on another platform; nil if it is compiled on
	// its own.
	Cross  *PlanCross `json:"cross,omitempty"`
	Source PlanSource `json:"source"`
	Build  BaseFacts  `json:"build_base"`
	// Packages are installed on the build base for compiling.
	Packages []Package   `json:"packages"`
	Runtime  PlanRuntime `json:"runtime"`
	CPU      PlanCPU     `json:"cpu"`
	// Accelerator is the GPU backend; nil for none.
	Accelerator *PlanAccelerator `json:"accelerator,omitempty"`
	CUDA        *PlanCUDA        `json:"cuda,omitempty"`
	// Snapshots are archives that keep every release of the distribution's packages.
	Snapshots []string  `json:"snapshots,omitempty"`
	CMake     PlanCMake `json:"cmake"`
	// Parts are the steps of the compile. Each comes after the steps that it needs; the
	// last one links the server.
	Parts []Part `json:"parts"`
	// UI says how the web UI is built; nil if it is not, for the reason in UIWhy.
	UI    *PlanUI     `json:"ui,omitempty"`
	UIWhy string      `json:"ui_why,omitempty"`
	Image ImageConfig `json:"image"`
	// Scripts is Facts.Scripts.
	Scripts string `json:"scripts,omitempty"`
	// Recipe is the digest of everything that determines the image's content; empty
	// if a fact is pending.
	Recipe string `json:"recipe_digest,omitempty"`
	// Fit is the digest of the request and the commit, without the CPU level and the
	// digests of bases. An image with the same Fit does the same job.
	Fit string `json:"fit_digest,omitempty"`
	// Pending are the facts that are not looked up yet.
	Pending []string `json:"pending,omitempty"`
	// Notes tell a person which parts of the request most likely have no effect.
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
	// BuildNumber and Short are the server's build_info.
	BuildNumber string   `json:"build_number"`
	Short       string   `json:"short,omitempty"`
	Licences    []string `json:"licences,omitempty"`
	// Created is the commit's time as RFC 3339; empty if it is unknown.
	Created string `json:"created,omitempty"`
	// Layout is how far the tree is split into steps; LayoutWhy says why not further.
	Layout    Layout `json:"layout,omitempty"`
	LayoutWhy string `json:"layout_why,omitempty"`
	// serverDir is the folder of the tree's server, treeVersion the version in its CMake files.
	serverDir, treeVersion string
	// uiInside says that the server always includes a web UI.
	uiInside bool
}

// Package is a package of a distribution. With a name only, it is the version that the
// archive has now; with the other fields it is exactly that version.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	SHA256       string `json:"sha256,omitempty"`
	// Size is in bytes.
	Size int64 `json:"size,omitempty"`
	// Path is the file's path below the top of an archive.
	Path string `json:"path,omitempty"`
}

// Pinned reports whether packages are exact versions.
func Pinned(all []Package) bool { return len(all) > 0 && all[0].SHA256 != "" }

// PlanCPU says which CPUs the image's code is compiled for.
type PlanCPU struct {
	// Level is CPUPortable or the name of a level, never CPUNative.
	Level string `json:"level,omitempty"`
	// RunsOn describes the machines that the image runs on.
	RunsOn string `json:"runs_on,omitempty"`
}

// PlanAccelerator says how the GPU backend is compiled, in its own toolchain.
type PlanAccelerator struct {
	// Part is the name of its part in Plan.Parts.
	Part string `json:"part"`
	// Device is the prefix of ggml's names for its devices.
	Device     string    `json:"device"`
	Base       BaseFacts `json:"base"`
	Components []string  `json:"components,omitempty"`
	Packages   []Package `json:"packages"`
	// Libraries are sonames that are copied from its toolchain into the image.
	Libraries []string `json:"libraries,omitempty"`
	// Driver are sonames that the host's driver provides.
	Driver []string `json:"driver,omitempty"`
}

// PlanRuntime is the image's root, on which the server's files are put.
type PlanRuntime struct {
	// Base is a runtime base that the user named. Without one, the root consists of files
	// from packages of the build base's distribution.
	Base BaseFacts `json:"base,omitzero"`
	// Packages come with their dependencies. On a base they are installed.
	Packages []Package `json:"packages,omitempty"`
	// Files are packages of which only some files are used, without dependencies.
	Files []Package `json:"files,omitempty"`
}

// Made reports whether the root consists of packages' files, without a base.
func (r PlanRuntime) Made() bool { return len(r.Files) > 0 }

// PlanCMake is the configuration of the compile.
type PlanCMake struct {
	Generator string `json:"generator"`
	// Flags are the definitions that all parts share.
	Flags []string `json:"flags"`
	// Rules are sources that are compiled differently from CMake's configuration.
	Rules []CompileRule `json:"rules,omitempty"`
	// Libraries are sonames that are copied from the toolchain beside the server.
	Libraries []string `json:"libraries,omitempty"`
}

// ImageConfig is the image's configuration.
type ImageConfig struct {
	Tags       []string          `json:"tags,omitempty"`
	User       string            `json:"user"`
	Entrypoint []string          `json:"entrypoint"`
	Env        []string          `json:"env,omitempty"`
	Port       int               `json:"port"`
	Health     []string          `json:"healthcheck"`
	Labels     map[string]string `json:"labels"`
}

// MakePlan makes a plan from a request and facts. The request must come from Normalise.
// A missing fact leaves its part of the plan empty and is listed in Pending. A fact that
// contradicts the request is a fault.
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
		return Plan{}, fault.New(fault.Usage, "cannot build this request", err, "see llorch-bk help build")
	}
	// LayoutParts gives the server's part only the server's files.
	if len(r.Programs) > 0 && p.Source.Layout == LayoutParts {
		p.Source.Layout, p.Source.LayoutWhy = LayoutGGML, "it also builds other programs than the server"
	}
	// Flags that only the GPU backend reads must not change the keys of other parts.
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
		p.Notes = append(p.Notes, "`no-ui` has no effect: this source's server always includes its prebuilt web UI")
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
	if err := p.setDigests(r); err != nil {
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

// AcceleratorBase is the normalised name of the image that the GPU backend is compiled on;
// empty if that is the build base, or if there is no GPU backend.
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

// BaseRefs are the normalised names of the build base and the runtime base. A user's base
// is both, unless the user names another runtime base. Without any, runtime is empty:
// the image's root is made from packages.
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
		p.CPU = PlanCPU{level, "any " + r.Arch() + " machine: the server chooses the best of ggml's CPU backends when it starts"}
	default:
		l, err := FindLevel(r.Arch(), level)
		if err != nil {
			return fault.New(fault.Usage, "unknown CPU level", err, "see llorch-bk help build")
		}
		p.CPU = PlanCPU{l.Name, l.RunsOn}
	}
	return nil
}

// Repository is the image name if the user names no tag.
const Repository = "llorch-bk"

// defaultTag names an image by its version (or commit), variant and CPU level.
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
		// The version is too long for a tag; the commit never is.
		return "docker.io/library/" + Repository + ":" + p.Source.Short
	}
	return named.String()
}
