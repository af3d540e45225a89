// Package llb answers one question: how is a plan built?
//
// It turns an images.Plan into a BuildKit graph and an image config, and does
// nothing else: no network, no environment, no clock. The same plan and the
// same capabilities give the same definition, byte for byte. The package
// buildkit below it does the talking.
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
	// SourceMount is the name under which a tree of this machine is sent to
	// the builder.
	SourceMount = "source"
	// BaseStore is the id under which the content store of a base's OCI layout
	// is offered to the builder.
	BaseStore = "llorch-base"
	// BundleStore is the id under which the content store of a bundle is offered to the
	// builder.
	BundleStore = "llorch-bundle"
	// JobsSecret is the id of the secret that says how many compilers may run
	// at once. A secret's content is in no cache key, and it must not be in one.
	JobsSecret = "llorch-jobs"
	// SnapshotsSecret is the id of the secret that names the archives which keep old
	// packages, a line each.
	SnapshotsSecret = "llorch-snapshots"
	// CASecret is the id of the secret with the certificates of a network's own
	// certificate authority.
	CASecret = "llorch-ca"
)

// Capabilities are what a builder can do, asked of it once.
type Capabilities struct {
	// GitChecksum: the builder checks the commit that it fetched.
	GitChecksum bool
	// GitSkipSubmodules: the builder can leave submodules out.
	GitSkipSubmodules bool
	// OCILayout: the builder takes images from a content store of ours.
	OCILayout bool
	// Merge: the builder makes an image of trees that lie side by side.
	Merge bool
	// Runs are the platforms whose programs the builder can run, its own first.
	Runs []string
}

// Options are choices of one build that are no part of the plan.
type Options struct {
	// Fresh, when not empty, enters the keys of the steps that install and
	// compile, so that they run again. BuildKit's own way to ignore the cache
	// would empty the cache mounts as well.
	Fresh string
	// Session is the id of the session that sends what this machine has.
	Session string
	// Tree says that this machine sends the tree, whatever the plan's kind of source.
	Tree bool
	// Sent are the names of file sets that this machine sends, so that no step fetches
	// them: those of Fetches, and NPMMount.
	Sent []string
	// Bundled says that the bases come out of BundleStore by their digests.
	Bundled bool
	// Lock is the lock that the plan was made of, which the image is to have; nil for none.
	Lock []byte
	// Proxy is for the step that needs a network. BuildKit keeps it out of keys,
	// layers and the image.
	Proxy Proxy
}

// Proxy is how a network is left, in the usual variables' own terms.
type Proxy struct{ HTTP, HTTPS, FTP, No, All string }

// Graph is a plan made ready for a builder.
type Graph struct {
	// Image is the root file system of the image.
	Image bkllb.State
	// Config is the image's config, as JSON of Docker's image spec.
	Config []byte
	// Source is the tree that is compiled.
	Source bkllb.State
	// Epoch is the one time that the image's own files and its history are of; zero where
	// the commit's is not known.
	Epoch time.Time
	// Layers name what is added to the runtime base, from the lowest layer up.
	Layers []string
	// Checks are what has to succeed, one after the other, before anybody gets the image.
	Checks []bkllb.State
	// Stages are what the image is made of, each after what it stands on. A builder that
	// must not work on two things at once is given them one by one.
	Stages []bkllb.State
	// Notes are what a person is to know of the image: what was not checked.
	Notes []string
}

// Notes is the folder of an image with what is to be known of how it was compiled,
// a file for each part that has something to say.
const Notes = "/usr/share/llorch/notes"

// LockPath is where an image that was built from a lock has it.
const LockPath = "/usr/share/llorch/llorch.lock"

// Build turns a plan into a graph. The plan must have nothing pending.
func Build(p images.Plan, caps Capabilities, opt Options) (Graph, error) {
	if len(p.Pending) > 0 {
		return Graph{}, fmt.Errorf("a plan that still waits for %s cannot be built", strings.Join(p.Pending, ", "))
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
		// One that compiles everything has all that the other has.
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

// epoch is the commit's time. It is in no key of a step: what is compiled has no time.
func epoch(p images.Plan) time.Time {
	t, err := time.Parse(time.RFC3339, p.Source.Created)
	if err != nil {
		return time.Time{}
	}
	return t
}

// SourceTree is the state of a plan's tree alone, for whoever has to read it
// before there is a whole plan.
func SourceTree(p images.PlanSource, caps Capabilities) bkllb.State {
	return builder{plan: images.Plan{Source: p}, caps: caps}.source()
}

type builder struct {
	plan images.Plan
	caps Capabilities
	opt  Options
	// platform is the image's, steps the one that its steps run on.
	platform, steps ocispec.Platform
	// arch is the architecture of the packages that a step takes, where its base is of
	// another.
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
// BuildKit runs equal operations of all builds at one time as one. Of a local source
// it compares the operation's attributes, not the files: two builds whose operations
// are equal get the files of one of them. So the operation names the session that
// sends the files, as Dockerfile frontends do (frontend/dockerui/config.go in
// BuildKit), and is the same for no two builds. What is built on it is keyed by
// the content, and still shared.
//
// The hint names the copy that BuildKit keeps of a tree between builds, to be sent
// what changed. A copy in use is not taken by another build. Which files changed is
// told by their times, which sourceFS of package buildkit makes of their content.
func (b builder) local() bkllb.State {
	src := b.plan.Source
	return b.sent(SourceMount, digest.FromString(src.Location).Encoded()[:16], "[source] "+src.Short)
}

// sent are files of this machine that travel under a name. hint names the copy that
// the builder keeps of them.
func (b builder) sent(name, hint, title string) bkllb.State {
	// A graph that is looked at and not solved has no session; without a name of its
	// own it would get one by chance.
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

// baseOn is a base image with its environment, which LLB does not bring along.
func (b builder) baseOn(platform ocispec.Platform, f images.BaseFacts, name string) bkllb.State {
	var st bkllb.State
	switch {
	case b.opt.Bundled:
		st = b.layout(platform, f, BundleStore, name)
	case f.Layout:
		st = b.layout(platform, f, BaseStore, name)
	case f.Digest != "":
		// A base that the user named by digest has it in its name already.
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

// layout is an image by its digest, out of a content store of ours.
func (b builder) layout(platform ocispec.Platform, f images.BaseFacts, store, name string) bkllb.State {
	ref, _, _ := strings.Cut(f.Ref, "@")
	// A colon before the last slash is a port's.
	if i := strings.LastIndex(ref, ":"); i > strings.LastIndex(ref, "/") {
		ref = ref[:i]
	}
	return bkllb.OCILayout(ref+"@"+f.Digest, bkllb.OCIStore("", store), bkllb.Platform(platform), bkllb.WithCustomName("["+name+"] "+f.Ref))
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

// toolchain is the build base with the packages that compiling needs.
func (b builder) toolchain() bkllb.State {
	return b.install("[toolchain] install ", b.plan.Build, nil, b.plan.Packages)
}

// acceleratorToolchain is what the backend for GPUs is compiled with.
func (b builder) acceleratorToolchain() bkllb.State {
	a := b.plan.Accelerator
	// A compiler for GPUs weighs gigabytes, and a builder that finds what it has
	// compiled in a layer cache never needs it.
	return b.install("[gpu-toolchain] install ", a.Base, a.Components, a.Packages, bkllb.WithoutExportCache())
}

// install is a base with packages of its distribution, which is a matter of the
// network.
func (b builder) install(title string, base images.BaseFacts, components []string, packages []images.Package, opts ...bkllb.RunOption) bkllb.State {
	names := packageNames(packages)
	if images.Pinned(packages) {
		names = nil // The step takes what is there.
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

// titleOf is packages in a step's title.
func titleOf(packages []images.Package) string {
	if images.Pinned(packages) {
		return fmt.Sprintf("%d packages that are locked", len(packages))
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

// caSecret gives a step with a network the certificates of that network's own
// authority, where the user named some.
func (b builder) caSecret() bkllb.RunOption {
	return bkllb.AddSecret("/run/llorch/ca.crt", bkllb.SecretID(CASecret), bkllb.SecretOptional)
}

// proxy lets a step leave the network as the user's environment says.
func (b builder) proxy() bkllb.RunOption {
	p := b.opt.Proxy
	if p == (Proxy{}) {
		return noRunOption{}
	}
	return bkllb.WithProxy(bkllb.ProxyEnv{HTTPProxy: p.HTTP, HTTPSProxy: p.HTTPS, FTPProxy: p.FTP, NoProxy: p.No, AllProxy: p.All})
}

// cacheScope names what may share a cache mount: the same base on the same
// architecture, whose compiler and packages are then the same.
func (b builder) cacheScope(base images.BaseFacts) string {
	ref, _, _ := strings.Cut(strings.NewReplacer("docker.io/library/", "", "docker.io/", "").Replace(base.Ref), "@")
	return unsafeInID.ReplaceAllString(b.steps.Architecture+"-"+ref, "-")
}

var unsafeInID = regexp.MustCompile(`[^a-z0-9._-]+`)

// WriteDefinition writes a graph as BuildKit reads it, for buildctl. Unlike what
// BuildKit's own function writes, equal graphs are equal bytes.
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

// Digest identifies a definition: the digest of its vertex chain's head. Equal
// graphs have equal digests, also across processes.
func Digest(def *bkllb.Definition) digest.Digest {
	if len(def.Def) == 0 {
		return ""
	}
	return digest.FromBytes(def.Def[len(def.Def)-1])
}
