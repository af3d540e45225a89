// Package llb answers one question: how is a plan built?
//
// It turns an images.Plan into a BuildKit graph and an image config, and does
// nothing else: no network, no environment, no clock. The same plan and the
// same capabilities give the same definition, byte for byte. The package
// buildkit below it does the talking.
package llb

import (
	_ "embed"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

//go:embed scripts/packages.sh
var packagesScript string

//go:embed scripts/compile.sh
var compileScript string

//go:embed scripts/probe.c
var probeSource string

const (
	// SourceMount is the name under which a tree of this machine is sent to
	// the builder.
	SourceMount = "source"
	// BaseStore is the id under which the content store of a base's OCI layout
	// is offered to the builder.
	BaseStore = "llorch-base"
	// JobsSecret is the id of the secret that says how many compilers may run
	// at once. A secret's content is in no cache key, and it must not be in one.
	JobsSecret = "llorch-jobs"
)

// Capabilities are what a builder can do, asked of it once.
type Capabilities struct {
	// GitChecksum: the builder checks the commit that it fetched.
	GitChecksum bool
	// GitSkipSubmodules: the builder can leave submodules out.
	GitSkipSubmodules bool
	// OCILayout: the builder takes images from a content store of ours.
	OCILayout bool
}

// Options are choices of one build that are no part of the plan.
type Options struct {
	// Fresh, when not empty, enters the keys of the steps that install and
	// compile, so that they run again. BuildKit's own way to ignore the cache
	// would empty the cache mounts as well.
	Fresh string
}

// Graph is a plan made ready for a builder.
type Graph struct {
	// Image is the root file system of the image.
	Image bkllb.State
	// Config is the image's config, as JSON of Docker's image spec.
	Config []byte
}

// Build turns a plan into a graph. The plan must have nothing pending.
func Build(p images.Plan, caps Capabilities, opt Options) (Graph, error) {
	if len(p.Pending) > 0 {
		return Graph{}, fmt.Errorf("a plan that still waits for %s cannot be built", strings.Join(p.Pending, ", "))
	}
	platform, err := parsePlatform(p.Platform)
	if err != nil {
		return Graph{}, err
	}
	b := builder{plan: p, caps: caps, opt: opt, platform: platform}
	toolchain := b.toolchain()
	compiled := b.compile(toolchain, b.source())
	config, err := imageConfig(p, platform)
	if err != nil {
		return Graph{}, err
	}
	return Graph{Image: b.image(compiled, b.probe(toolchain)), Config: config}, nil
}

// SourceTree is the state of a plan's tree alone, for whoever has to read it
// before there is a whole plan.
func SourceTree(p images.PlanSource, caps Capabilities) bkllb.State {
	return builder{plan: images.Plan{Source: p}, caps: caps}.source()
}

type builder struct {
	plan     images.Plan
	caps     Capabilities
	opt      Options
	platform ocispec.Platform
}

func (b builder) source() bkllb.State {
	src := b.plan.Source
	if src.Kind != images.SourceGit {
		return bkllb.Local(SourceMount,
			bkllb.SharedKeyHint("llorch-"+SourceMount),
			bkllb.LocalUniqueID("llorch-"+SourceMount),
			bkllb.ExcludePatterns([]string{".git"}),
			bkllb.WithCustomName("[source] "+src.Short),
		)
	}
	opts := []bkllb.GitOption{bkllb.GitRef(src.Commit), bkllb.WithCustomName("[source] " + src.Location + " at " + src.Short)}
	if b.caps.GitChecksum {
		opts = append(opts, bkllb.GitChecksum(src.Commit))
	}
	if b.caps.GitSkipSubmodules {
		opts = append(opts, bkllb.GitSkipSubmodules())
	}
	return bkllb.Git(src.Location, "", opts...)
}

// base is a base image with its environment, which LLB does not bring along.
func (b builder) base(f images.BaseFacts, name string) bkllb.State {
	var st bkllb.State
	switch {
	case f.Layout:
		ref := f.Ref[:strings.LastIndex(f.Ref, ":")] + "@" + f.Digest
		st = bkllb.OCILayout(ref, bkllb.OCIStore("", BaseStore), bkllb.Platform(b.platform), bkllb.WithCustomName("["+name+"] "+f.Ref))
	case f.Digest != "":
		// A base that the user named by digest has it in its name already.
		ref, _, _ := strings.Cut(f.Ref, "@")
		st = bkllb.Image(ref+"@"+f.Digest, bkllb.Platform(b.platform), bkllb.WithCustomName("["+name+"] "+f.Ref))
	default:
		st = bkllb.Image(f.Ref, bkllb.ResolveModePreferLocal, bkllb.Platform(b.platform), bkllb.WithCustomName("["+name+"] "+f.Ref))
	}
	st = st.Platform(b.platform)
	for _, e := range f.Env {
		k, v, _ := strings.Cut(e, "=")
		st = st.AddEnv(k, v)
	}
	return st
}

// script mounts one of our scripts, so that its text is keyed like any source.
func (b builder) script(name, text string) bkllb.RunOption {
	st := bkllb.Scratch().Platform(b.platform).File(bkllb.Mkfile("/"+name, 0o755, []byte(text)), bkllb.WithCustomName("[script] "+name))
	return bkllb.AddMount("/llorch", st, bkllb.Readonly)
}

// fresh makes a step run again without touching its cache mounts.
func (b builder) fresh() bkllb.RunOption {
	if b.opt.Fresh == "" {
		return noRunOption{}
	}
	return bkllb.AddEnv("LLORCH_FRESH", b.opt.Fresh)
}

type noRunOption struct{}

func (noRunOption) SetRunOption(*bkllb.ExecInfo) {}

// toolchain is the build base with the packages that compiling needs. It is the
// only step that may use the network.
func (b builder) toolchain() bkllb.State {
	args := []string{"sh", "/llorch/packages.sh"}
	for _, p := range b.plan.Packages {
		args = append(args, p.Name)
	}
	id := "llorch-apt-" + b.cacheScope()
	return b.base(b.plan.Build, "base").Run(
		bkllb.Args(args),
		b.script("packages.sh", packagesScript),
		// apt locks its folders, so two builds must take turns.
		bkllb.AddMount("/var/cache/apt", bkllb.Scratch(), bkllb.AsPersistentCacheDir(id+"-archives", bkllb.CacheMountLocked)),
		bkllb.AddMount("/var/lib/apt/lists", bkllb.Scratch(), bkllb.AsPersistentCacheDir(id+"-lists", bkllb.CacheMountLocked)),
		b.fresh(),
		bkllb.WithCustomName("[toolchain] install "+strings.Join(args[2:], " ")),
	).Root()
}

// cacheScope names what may share a cache mount: the same base on the same
// architecture, whose compiler and packages are then the same.
func (b builder) cacheScope() string {
	ref := strings.NewReplacer("docker.io/library/", "", "docker.io/", "").Replace(b.plan.Build.Ref)
	return unsafeInID.ReplaceAllString(b.platform.Architecture+"-"+ref, "-")
}

var unsafeInID = regexp.MustCompile(`[^a-z0-9._-]+`)

// compile is llama.cpp's configure, compile and layout, without a network. Its
// result has bin, lib and licenses at the top.
func (b builder) compile(toolchain, source bkllb.State) bkllb.State {
	p := b.plan
	args := append([]string{"sh", "/llorch/compile.sh", p.CMake.Generator}, p.CMake.Flags...)
	run := toolchain.Run(
		bkllb.Args(args),
		b.script("compile.sh", compileScript),
		// Writable, because trees of 2025 generate a file beside their
		// sources; without an output, so that the tree is keyed by its content.
		bkllb.AddMount("/src", source, bkllb.ForceNoOutput),
		bkllb.AddMount("/build", bkllb.Scratch(), bkllb.ForceNoOutput),
		bkllb.AddMount("/ccache", bkllb.Scratch(), bkllb.AsPersistentCacheDir("llorch-ccache-"+b.cacheScope(), bkllb.CacheMountShared)),
		bkllb.AddSecret("/run/llorch/jobs", bkllb.SecretID(JobsSecret), bkllb.SecretOptional),
		bkllb.AddEnv("TARGET", p.CMake.Target),
		bkllb.AddEnv("LIBRARIES", strings.Join(p.CMake.Libraries, " ")),
		bkllb.AddEnv("LICENCES", strings.Join(p.Source.Licences, " ")),
		bkllb.AddEnv("CCACHE_DIR", "/ccache"),
		// Packages give the same compiler new time stamps; its content is what counts.
		bkllb.AddEnv("CCACHE_COMPILERCHECK", "content"),
		bkllb.AddEnv("CCACHE_NOHASHDIR", "1"),
		bkllb.AddEnv("CCACHE_MAXSIZE", "5G"),
		bkllb.AddEnv("CMAKE_C_COMPILER_LAUNCHER", "ccache"),
		bkllb.AddEnv("CMAKE_CXX_COMPILER_LAUNCHER", "ccache"),
		bkllb.AddEnv("CMAKE_CUDA_COMPILER_LAUNCHER", "ccache"),
		bkllb.Network(bkllb.NetModeNone),
		b.fresh(),
		bkllb.WithCustomName(fmt.Sprintf("[compile] %s %s for %s", p.CMake.Target, p.Source.Short, b.what())),
	)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

func (b builder) what() string {
	if b.plan.CUDA != nil {
		return b.plan.CPU.Level + ", CUDA " + strings.Join(b.plan.CUDA.Archs, " ")
	}
	return b.plan.CPU.Level
}

// probe is the static health probe. It depends on nothing of llama.cpp, so it is
// compiled once per toolchain.
func (b builder) probe(toolchain bkllb.State) bkllb.State {
	out := "/out/" + path.Base(images.Probe)
	run := toolchain.Run(
		bkllb.Args([]string{"gcc", "-Os", "-static", "-s", "-o", out, "/llorch/probe.c"}),
		b.script("probe.c", probeSource),
		bkllb.Network(bkllb.NetModeNone),
		bkllb.WithCustomName("[probe] compile the health probe"),
	)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// image assembles the runtime image, one layer for each thing that changes at
// its own pace, the stablest first. A copy in a layer of its own is not written
// again when only a later one changes.
func (b builder) image(compiled, probe bkllb.State) bkllb.State {
	dir := &bkllb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true}
	return b.base(b.plan.Runtime, "runtime base").
		File(bkllb.Copy(probe, "/", images.AppDir+"/", dir), bkllb.WithCustomName("[image] health probe")).
		File(bkllb.Copy(compiled, "/licenses", "/usr/share/licenses/", dir), bkllb.WithCustomName("[image] licences")).
		File(bkllb.Copy(compiled, "/lib", images.AppDir+"/", dir), bkllb.WithCustomName("[image] libraries")).
		File(bkllb.Copy(compiled, "/bin", images.AppDir+"/", dir), bkllb.WithCustomName("[image] server"))
}

// ScriptsDigest identifies the scripts that carry a plan out.
func ScriptsDigest() string {
	return digest.FromString(packagesScript + "\x00" + compileScript + "\x00" + probeSource).String()
}

// Digest identifies a definition: the digest of its vertex chain's head. Equal
// graphs have equal digests, also across processes.
func Digest(def *bkllb.Definition) digest.Digest {
	if len(def.Def) == 0 {
		return ""
	}
	return digest.FromBytes(def.Def[len(def.Def)-1])
}
