// Package llb answers one question: how is a plan built?
//
// It turns an images.Plan into a BuildKit graph and an image config. It is pure: no
// network, no environment, no clock. The same plan and capabilities give the same
// definition, byte for byte. The package llb/buildkit talks to the builder.
package llb

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
)

const (
	// SourceMount is the name under which a tree of this machine is sent to the builder.
	SourceMount = "source"
	// BaseStore is the id under which a base's OCI layout is offered to the builder as a
	// content store.
	BaseStore = "llorch-base"
	// BundleStore is the id under which a bundle is offered to the builder as a content
	// store.
	BundleStore = "llorch-bundle"
	// JobsSecret is the id of the secret with the number of compilers that may run at
	// once. It is a secret because a secret's content is in no cache key.
	JobsSecret = "llorch-jobs"
	// SnapshotsSecret is the id of the secret with the archives that keep old packages,
	// one per line.
	SnapshotsSecret = "llorch-snapshots"
	// CASecret is the id of the secret with the certificates of a private certificate
	// authority.
	CASecret = "llorch-ca"
)

// Capabilities are the features of a builder, which is asked for them once.
type Capabilities struct {
	// GitChecksum: the builder verifies the commit that it fetched.
	GitChecksum bool
	// GitSkipSubmodules: the builder can skip submodules.
	GitSkipSubmodules bool
	// OCILayout: the builder accepts images from a content store of this machine.
	OCILayout bool
	// Merge: the builder can merge trees side by side into an image (MergeOp).
	Merge bool
	// Runs are the platforms whose programs the builder can run, its own first.
	Runs []string
}

// Options are choices of one build that are not part of the plan.
type Options struct {
	// Fresh, if not empty, is part of the keys of the steps that install and compile, so
	// that they run again. BuildKit's own option to ignore the cache would also empty the
	// cache mounts.
	Fresh string
	// Session is the id of the session that sends files of this machine.
	Session string
	// Tree makes this machine send the tree, whatever the plan's kind of source.
	Tree bool
	// Sent are the names of file sets that this machine sends, so that no step downloads
	// them: names from Fetches, and NPMMount.
	Sent []string
	// Bundled means that the bases come from BundleStore, by digest.
	Bundled bool
	// Lock is the lock that the plan was made from, to be put into the image; nil for none.
	Lock []byte
	// Proxy is set in the steps that need a network. BuildKit keeps it out of keys,
	// layers and the image.
	Proxy Proxy
}

// Proxy has the values of the usual proxy variables.
type Proxy struct{ HTTP, HTTPS, FTP, No, All string }

// Graph is everything that a builder needs to build a plan.
type Graph struct {
	// Image is the root file system of the image.
	Image bkllb.State
	// Config is the image's config, as JSON of Docker's image spec.
	Config []byte
	// Source is the tree that is compiled.
	Source bkllb.State
	// Epoch is the time of the image's files and history; zero if the commit's time is
	// unknown.
	Epoch time.Time
	// Layers are the names of the layers above the runtime base, lowest first.
	Layers []string
	// Checks have to succeed, one after the other, before the image is exported.
	Checks []bkllb.State
	// Stages are the image's inputs, each after those that it depends on. A builder that
	// must not run steps in parallel solves them one by one.
	Stages []bkllb.State
	// Notes tell a person what was not checked.
	Notes []string
}

// Notes is the folder of an image with remarks about its compile, one file for each part
// that has any.
const Notes = "/usr/share/llorch/notes"

// LockPath is the path of the lock in an image that was built from one.
const LockPath = "/usr/share/llorch/llorch.lock"

// Build turns a plan into a graph. The plan must have nothing pending.
func Build(p images.Plan, caps Capabilities, opt Options) (Graph, error) {
	if len(p.Pending) > 0 {
		return Graph{}, fmt.Errorf("cannot build a plan that has facts pending: %s", strings.Join(p.Pending, ", "))
	}
	b, err := newBuilder(p, caps, opt)
	if err != nil {
		return Graph{}, err
	}
	config, err := imageConfig(p, b.platform)
	if err != nil {
		return Graph{}, err
	}
	toolchain := b.toolchain()
	var accelerator *bkllb.State
	if p.Accelerator != nil {
		st := b.acceleratorToolchain()
		accelerator = &st
		// If it compiles every part, it also serves as the toolchain.
		if !slices.ContainsFunc(p.Parts, func(part images.Part) bool { return !part.Accelerated }) {
			toolchain = st
		}
	}
	tree, probe := b.selected(b.source()), b.probe(toolchain)
	stages := []bkllb.State{tree, toolchain, probe}
	if accelerator != nil {
		stages = append(stages, *accelerator)
	}
	var ui *bkllb.State
	if p.UI != nil {
		st := b.webUI(tree)
		ui, stages = &st, append(stages, st)
	}
	compiled := map[string]bkllb.State{}
	for _, part := range p.Parts {
		with := toolchain
		if part.Accelerated {
			with = *accelerator
		}
		st := b.compile(with, tree, ui, part, compiled)
		compiled[part.Name], stages = st, append(stages, st)
	}
	root, layers := b.root()
	stages = append(stages, root)
	image, layers := b.image(root, layers, tree, accelerator, compiled, probe)
	checks, notes := b.checks(toolchain, image)
	return Graph{Image: image, Source: b.source(), Epoch: epoch(p), Config: config, Layers: layers, Checks: checks, Stages: stages, Notes: notes}, nil
}

// epoch is the commit's time. It is in no step's key, because compiled files have no time.
func epoch(p images.Plan) time.Time {
	t, err := time.Parse(time.RFC3339, p.Source.Created)
	if err != nil {
		return time.Time{}
	}
	return t
}

// SourceTree is the state of a plan's tree alone. It serves to read the tree before the
// plan is complete.
func SourceTree(p images.PlanSource, caps Capabilities) bkllb.State {
	return builder{plan: images.Plan{Source: p}, caps: caps}.source()
}

type builder struct {
	plan images.Plan
	caps Capabilities
	opt  Options
	// platform is the image's, steps the one that the steps run on.
	platform, steps ocispec.Platform
	// arch is the architecture of the packages that a step uses, if it is not that of the
	// step's base.
	arch string
}

func newBuilder(p images.Plan, caps Capabilities, opt Options) (builder, error) {
	platform, err := parsePlatform(p.Platform)
	if err != nil {
		return builder{}, err
	}
	b := builder{plan: p, caps: caps, opt: opt, platform: platform, steps: platform}
	if p.Cross != nil {
		b.steps, err = parsePlatform(p.Cross.Builder)
	}
	return b, err
}

func (b builder) source() bkllb.State {
	src := b.plan.Source
	if src.Kind != images.SourceGit || b.opt.Tree {
		return b.local()
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

// local is a tree that this machine sends.
//
// BuildKit runs equal operations of concurrent builds as one. For a local source it
// compares the operation's attributes, not the files: two builds with equal operations
// would get the files of one of them. So the operation contains the id of the session that
// sends the files, as in Dockerfile frontends (frontend/dockerui/config.go in BuildKit),
// and differs between builds. Later steps are keyed by content and are still shared.
//
// The hint names the copy of a tree that BuildKit keeps between builds, so that only
// changed files are sent. Two builds never use one copy at the same time. BuildKit detects
// changes by times, which sourceFS in package buildkit derives from the content.
func (b builder) local() bkllb.State {
	src := b.plan.Source
	return b.sent(SourceMount, digest.FromString(src.Location).Encoded()[:16], "[source] "+src.Short)
}

// sent are files of this machine under a name. hint names the copy that the builder keeps.
func (b builder) sent(name, hint, title string) bkllb.State {
	// A graph that is printed and not solved has no session. Without a fixed name it would
	// get a random one.
	session := bkllb.LocalOption(bkllb.LocalUniqueID("llorch-" + name))
	if b.opt.Session != "" {
		session = bkllb.SessionID(b.opt.Session)
	} else {
		hint = name
	}
	return bkllb.Local(name, session, bkllb.SharedKeyHint("llorch-"+hint), bkllb.WithCustomName(title))
}

// base is a base image that steps run on.
func (b builder) base(f images.BaseFacts) bkllb.State {
	return b.baseOn(b.steps, f, "base")
}

// baseOn is a base image with its environment, which LLB does not inherit.
func (b builder) baseOn(platform ocispec.Platform, f images.BaseFacts, name string) bkllb.State {
	var st bkllb.State
	switch {
	case b.opt.Bundled:
		st = b.layout(platform, f, BundleStore, name)
	case f.Layout:
		st = b.layout(platform, f, BaseStore, name)
	case f.Digest != "":
		// A base that the user named by digest already has the digest in its name.
		ref, _, _ := strings.Cut(f.Ref, "@")
		st = bkllb.Image(ref+"@"+f.Digest, bkllb.Platform(platform), bkllb.WithCustomName("["+name+"] "+f.Ref))
	default:
		st = bkllb.Image(f.Ref, bkllb.ResolveModePreferLocal, bkllb.Platform(platform), bkllb.WithCustomName("["+name+"] "+f.Ref))
	}
	st = st.Platform(platform)
	for _, e := range f.Env {
		k, v, _ := strings.Cut(e, "=")
		st = st.AddEnv(k, v)
	}
	return st
}

// layout is an image by digest, from a content store of this machine.
func (b builder) layout(platform ocispec.Platform, f images.BaseFacts, store, name string) bkllb.State {
	ref, _, _ := strings.Cut(f.Ref, "@")
	// A colon before the last slash separates a port.
	if i := strings.LastIndex(ref, ":"); i > strings.LastIndex(ref, "/") {
		ref = ref[:i]
	}
	return bkllb.OCILayout(ref+"@"+f.Digest, bkllb.OCIStore("", store), bkllb.Platform(platform), bkllb.WithCustomName("["+name+"] "+f.Ref))
}

// fresh makes a step run again and keeps its cache mounts.
func (b builder) fresh() bkllb.RunOption {
	if b.opt.Fresh == "" {
		return noRunOption{}
	}
	return bkllb.AddEnv("LLORCH_FRESH", b.opt.Fresh)
}

type noRunOption struct{}

func (noRunOption) SetRunOption(*bkllb.ExecInfo) {}

// toolchain is the build base with the packages that compiling requires.
func (b builder) toolchain() bkllb.State {
	return b.install("[toolchain] install ", b.plan.Build, nil, b.plan.Packages)
}

// acceleratorToolchain is the toolchain that compiles the GPU backend.
func (b builder) acceleratorToolchain() bkllb.State {
	a := b.plan.Accelerator
	// A GPU toolchain weighs gigabytes. A builder that finds the compiled backend in a
	// layer cache never needs it.
	return b.install("[gpu-toolchain] install ", a.Base, a.Components, a.Packages, bkllb.WithoutExportCache())
}

// install installs packages of the base's distribution on a base.
func (b builder) install(title string, base images.BaseFacts, components []string, packages []images.Package, opts ...bkllb.RunOption) bkllb.State {
	names := packageNames(packages)
	if images.Pinned(packages) {
		names = nil // The step installs every package in its folder.
	}
	var more bkllb.RunOption = noRunOption{}
	if len(components) > 0 {
		more = bkllb.AddEnv("COMPONENTS", strings.Join(components, " "))
	}
	opts = append(opts,
		bkllb.Args(append([]string{"sh", "/llorch/packages.sh"}, names...)),
		more,
		b.scripts(script{"packages.sh", packagesScript}, script{"apt.sh", aptScript}),
		b.named(StepToolchain, "", title+titleOf(packages)),
	)
	opts = append(opts, b.packagesFor(base, packages)...)
	return b.base(base).Run(opts...).Root()
}

// titleOf describes packages in a step's title.
func titleOf(packages []images.Package) string {
	if images.Pinned(packages) {
		return fmt.Sprintf("%d locked packages", len(packages))
	}
	return strings.Join(packageNames(packages), " ")
}

func packageNames(all []images.Package) []string {
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	return names
}

// caSecret gives a step with a network the certificates of the user's private certificate
// authority, if the user named some.
func (b builder) caSecret() bkllb.RunOption {
	return bkllb.AddSecret("/run/llorch/ca.crt", bkllb.SecretID(CASecret), bkllb.SecretOptional)
}

// proxy gives a step with a network the user's proxy settings.
func (b builder) proxy() bkllb.RunOption {
	p := b.opt.Proxy
	if p == (Proxy{}) {
		return noRunOption{}
	}
	return bkllb.WithProxy(bkllb.ProxyEnv{HTTPProxy: p.HTTP, HTTPSProxy: p.HTTPS, FTPProxy: p.FTP, NoProxy: p.No, AllProxy: p.All})
}

// cacheScope names the cache mounts of a step. Steps with the same base and architecture
// share them, because their compiler and packages are the same.
func (b builder) cacheScope(base images.BaseFacts) string {
	ref, _, _ := strings.Cut(strings.NewReplacer("docker.io/library/", "", "docker.io/", "").Replace(base.Ref), "@")
	return unsafeInID.ReplaceAllString(b.steps.Architecture+"-"+ref, "-")
}

var unsafeInID = regexp.MustCompile(`[^a-z0-9._-]+`)

// WriteDefinition writes a graph in BuildKit's format, for buildctl. Unlike BuildKit's own
// function, it writes equal graphs as equal bytes.
func WriteDefinition(ctx context.Context, g Graph, w io.Writer) error {
	def, err := g.Image.Marshal(ctx)
	if err != nil {
		return err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(def.ToPB())
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Digest identifies a definition by the digest of its last vertex, which covers all others.
// Equal graphs have equal digests, in every process.
func Digest(def *bkllb.Definition) digest.Digest {
	if len(def.Def) == 0 {
		return ""
	}
	return digest.FromBytes(def.Def[len(def.Def)-1])
}
