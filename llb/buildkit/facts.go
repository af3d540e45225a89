package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/distribution/reference"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/moby/buildkit/client"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// LocalDomain is the domain of images that were bootstrapped on this machine. No registry
// has it.
const LocalDomain = "llorch.local"

// LocalBase is a base image of this machine, used if no registry is reachable.
type LocalBase struct {
	// Ref is the image's name, in LocalDomain.
	Ref string
	// Manifest is the digest of its manifest in Store.
	Manifest digest.Digest
	// Store has the image, for a builder that accepts an OCI layout.
	Store content.Store
	// Config is the image's config as JSON.
	Config []byte
	// Load loads it into the engine, for an embedded builder that does not.
	Load func(context.Context) error
}

// Query says what Collect has to look up.
type Query struct {
	Request  images.Request
	Checkout source.Checkout
	CPULevel string
	// GPU is the report of the driver on the machine that will run the image; nil if it
	// cannot be queried.
	GPU *images.GPUFacts
	// Local replaces the catalogue's base if no registry is reachable; nil if this machine
	// has none.
	Local *LocalBase
	// Locked has the base images of a lock. Only these are used.
	Locked *images.Facts
	// Kept has Locked's images, if they must not be fetched.
	Kept Kept
	// Replace allows another toolkit of the same family if the registry of the first is
	// unreachable.
	Replace bool
	// Reach tests whether an image's registry is reachable; nil means the function Reach.
	Reach func(ctx context.Context, ref string) error
	// Status receives the builder's progress.
	Status func(*client.SolveStatus)
	// Notice tells the user about a fallback.
	Notice func(string)
}

// Facts are the facts for a plan, and the builder's capabilities.
type Facts struct {
	images.Facts
	Capabilities llb.Capabilities
}

// Collect asks the builder for facts that only it has: the tree of a remote commit, and the
// digests and environments of base images.
func (b *Builder) Collect(ctx context.Context, q Query) (Facts, error) {
	var f Facts
	f.Source, f.CPULevel = q.Checkout.Facts, q.CPULevel
	f.GPU = q.GPU
	choice, err := images.Choose(q.Request, f.Facts)
	if err != nil {
		return f, err
	}
	f.Builder = b.Platform()
	cross, err := images.Cross(q.Request, choice.Variant, f.Builder)
	if err != nil {
		return f, err
	}
	on, steps := platformOf(q.Request.Platform), platformOf(q.Request.Platform)
	if cross != nil {
		steps = platformOf(cross.Builder)
	}
	buildRef, runtimeRef := images.BaseRefs(q.Request, choice.Variant)
	// An error of the build function loses its type on the way through the builder, so the
	// fault is stored in why.
	var why *fault.Fault
	_, err = b.run(ctx, client.SolveOpt{FrontendAttrs: map[string]string{}, Session: []session.Attachable{registryAuth()}}, calm(q.Status), func(ctx context.Context, gw gateway.Client) (_ *gateway.Result, err error) {
		defer func() { errors.As(err, &why) }()
		f.Capabilities = capabilities(gw)
		f.Capabilities.Runs = b.platforms
		if f.Source.Tree == nil {
			src := images.PlanSource{Kind: f.Source.Kind, Location: q.Checkout.Location, Commit: f.Source.Commit, Short: f.Source.Short()}
			if f.Source.Tree, err = readTree(ctx, gw, llb.SourceTree(src, f.Capabilities)); noCommit(err) {
				return nil, fault.New(fault.Usage, fmt.Sprintf("no commit %s at %s", src.Commit, src.Location), nil, "check --ref and --source")
			} else if err != nil {
				return nil, err
			}
		}
		if q.Locked != nil {
			return gateway.NewResult(), b.lockedBases(ctx, gw, q, &f, steps, on)
		}
		if f.Build, err = b.base(ctx, gw, f.Capabilities, q, buildRef, steps); err != nil {
			return nil, err
		}
		switch {
		case runtimeRef == "":
		case runtimeRef == buildRef && cross == nil:
			f.Runtime = f.Build
		default:
			if f.Runtime, err = b.base(ctx, gw, f.Capabilities, q, runtimeRef, on); err != nil {
				return nil, err
			}
		}
		if err := b.accelerator(ctx, gw, q, &f, choice); err != nil {
			return nil, err
		}
		return gateway.NewResult(), nil
	})
	if err != nil && why != nil && ctx.Err() == nil {
		return f, why
	}
	if err != nil {
		return f, b.explain(ctx, "cannot look up the facts for the build", err, nil)
	}
	return f, nil
}

// unreached returns the error if an image's registry is unreachable; nil if it is reachable
// or if that is unknown.
func (q Query) unreached(ctx context.Context, ref string) *Unreached {
	reach := q.Reach
	if reach == nil {
		reach = Reach
	}
	var u *Unreached
	if errors.As(reach(ctx, ref), &u) {
		return u
	}
	return nil
}

// accelerator looks up the image that the GPU backend is compiled on. If its registry is
// unreachable and the query allows it, accelerator marks the image unreachable and lets
// Choose select the next toolkit of the family.
func (b *Builder) accelerator(ctx context.Context, gw gateway.Client, q Query, f *Facts, choice images.Choice) error {
	for {
		ref := images.AcceleratorBase(q.Request, choice.Variant)
		if ref == "" {
			return nil
		}
		base, err := b.base(ctx, gw, f.Capabilities, q, ref, platformOf(q.Request.Platform))
		if err == nil {
			f.Accelerator = base
			return nil
		}
		if ctx.Err() != nil || q.unreached(ctx, ref) == nil {
			return err
		}
		if !q.Replace {
			return instead(err, q.Request, *f, ref)
		}
		f.Unreachable = append(f.Unreachable, ref)
		next, nextErr := images.Choose(q.Request, f.Facts)
		if nextErr != nil {
			return errors.Join(err, nextErr)
		}
		q.Notice(fmt.Sprintf("cannot pull %s (%s); building %s instead of %s", shortRef(ref), cause(err), next.Variant.Name, choice.Variant.Name))
		choice = next
	}
}

// instead adds advice to a fault: another toolkit that the user could request in place of
// an unreachable image.
func instead(err error, r images.Request, f Facts, ref string) error {
	var what *fault.Fault
	f.Unreachable = slices.Clone(f.Unreachable)
	var next images.Choice
	// An image in the same registry does not help.
	for host := domain(ref); ref != "" && domain(ref) == host; ref = images.AcceleratorBase(r, next.Variant) {
		f.Unreachable = append(f.Unreachable, ref)
		var none error
		if next, none = images.Choose(r, f.Facts); none != nil {
			return err
		}
	}
	if !errors.As(err, &what) {
		return err
	}
	more := *what
	more.Do = "name a mirror with --base gpu=IMAGE, or build " + next.Variant.About + ": --variant " + next.Variant.Name
	return &more
}

// cause is a fault's cause as text.
func cause(err error) string {
	var f *fault.Fault
	if errors.As(err, &f) && f.Why != nil {
		return f.Why.Error()
	}
	return err.Error()
}

// noCommit matches git's errors, reported by the builder, for a commit that a repository
// does not have.
func noCommit(err error) bool {
	if err == nil {
		return false
	}
	for _, s := range []string{"not our ref", "unadvertised object", "couldn't find remote ref", "unable to read tree", "bad object", "reference is not a tree", "did not match any file"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

// calm shows a failed look-up as a log line and not as a failed step, because a fallback may
// succeed. If none does, the fault contains the error.
func calm(next func(*client.SolveStatus)) func(*client.SolveStatus) {
	if next == nil {
		return nil
	}
	return func(s *client.SolveStatus) {
		for _, v := range s.Vertexes {
			if v.Error == "" || !strings.HasPrefix(v.Name, resolveStep) {
				continue
			}
			s.Logs = append(s.Logs, &client.VertexLog{Vertex: v.Digest, Stream: 1, Data: []byte(v.Error + "\n"), Timestamp: time.Now()})
			v.Error = ""
		}
		next(s)
	}
}

// resolveStep is the prefix of look-ups in the progress display.
const resolveStep = "resolve "

// Capabilities asks the builder for its capabilities.
func (b *Builder) Capabilities(ctx context.Context) (caps llb.Capabilities, err error) {
	_, err = b.run(ctx, client.SolveOpt{FrontendAttrs: map[string]string{}}, nil, func(_ context.Context, gw gateway.Client) (*gateway.Result, error) {
		caps = capabilities(gw)
		return gateway.NewResult(), nil
	})
	if err != nil {
		return caps, b.explain(ctx, "cannot query the builder's capabilities", err, nil)
	}
	return caps, nil
}

func capabilities(gw gateway.Client) llb.Capabilities {
	caps := gw.BuildOpts().LLBCaps
	return llb.Capabilities{
		GitChecksum:       caps.Supports(pb.CapSourceGitChecksum) == nil,
		GitSkipSubmodules: caps.Supports(pb.CapSourceGitSkipSubmodules) == nil,
		OCILayout:         caps.Supports(pb.CapSourceOCILayout) == nil,
		Merge:             caps.Supports(pb.CapMergeOp) == nil,
	}
}

// readTree lets the builder fetch a tree and reads a llama.cpp tree from it.
func readTree(ctx context.Context, gw gateway.Client, tree bkllb.State) (*images.Tree, error) {
	r, err := solved(ctx, gw, tree)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, name := range images.TreeFiles {
		data, ok, err := r.Read(ctx, name)
		if err != nil {
			return nil, err
		}
		if ok {
			files[name] = data
		}
	}
	return images.ReadTree(files)
}

// base looks up a base image: in its registry, else in the engine's own store, else the base
// that this machine bootstrapped. The last replaces only a base of the catalogue, never one
// that the user named, and only for the builder's platform.
func (b *Builder) base(ctx context.Context, gw gateway.Client, caps llb.Capabilities, q Query, ref string, platform *ocispec.Platform) (images.BaseFacts, error) {
	if own := b.Platform(); own != "" && own != platformName(*platform) {
		q.Local = nil
	}
	local := strings.HasPrefix(ref, LocalDomain+"/")
	if local && q.Local != nil && ref == q.Local.Ref {
		return b.localBase(ctx, gw, caps, *q.Local)
	}
	var remoteErr error
	if !local {
		var f images.BaseFacts
		if f, remoteErr = resolve(ctx, gw, ref, platform, "default"); remoteErr == nil {
			return f, nil
		}
		if denied := b.Policy.Explain(remoteErr); denied != nil {
			return f, denied
		}
	}
	// An image that the user named may exist only in the engine. A base of the catalogue is
	// replaced only if its registry is unreachable.
	users := slices.Contains([]string{q.Request.Base, q.Request.RuntimeBase, q.Request.AcceleratorBase}, ref)
	var away *Unreached
	if remoteErr != nil {
		away = q.unreached(ctx, ref)
	}
	if b.Embedded && (local || users || away != nil) {
		if f, err := resolve(ctx, gw, ref, platform, "local"); err == nil {
			if remoteErr != nil {
				q.Notice(fmt.Sprintf("cannot pull %s (%s); using the engine's copy", shortRef(ref), reason(remoteErr)))
			}
			return f, nil
		}
	}
	if q.Local != nil && q.Request.Base == "" && away != nil && strings.HasPrefix(ref, "docker.io/library/debian:") {
		q.Notice(fmt.Sprintf("cannot reach the registry of %s (%s); using the base that setup bootstrapped: %s", shortRef(ref), reason(remoteErr), q.Local.Ref))
		return b.localBase(ctx, gw, caps, *q.Local)
	}
	do := "log in (docker login) or retry later if the registry refuses; otherwise check the name, or name another image with --base"
	if away != nil {
		do = "check the network and the name; without any registry, llorch-bk setup bootstraps a Debian base"
	}
	if remoteErr == nil {
		remoteErr = errors.New("no registry has this name, and this machine does not have the image")
		do = "llorch-bk setup bootstraps " + LocalDomain + " bases"
	}
	return images.BaseFacts{}, fault.New(fault.Machine, "cannot pull the base image "+shortRef(ref), errors.New(reason(remoteErr)), do)
}

// localBase offers this machine's own base to the builder in a form that it accepts.
func (b *Builder) localBase(ctx context.Context, gw gateway.Client, caps llb.Capabilities, l LocalBase) (images.BaseFacts, error) {
	f := images.BaseFacts{Ref: l.Ref}
	if err := readConfig(&f, l.Config, nil); err != nil {
		return f, err
	}
	if caps.OCILayout {
		f.Layout, f.Digest = true, l.Manifest.String()
		return f, nil
	}
	if !b.Embedded {
		return f, fault.New(fault.Machine, b.String()+" does not accept a base image from this machine", errors.New("it is older than BuildKit 0.12"),
			"use a newer builder, or one that reaches a registry")
	}
	if err := l.Load(ctx); err != nil {
		return f, err
	}
	return resolve(ctx, gw, l.Ref, nil, "local")
}

// resolve asks the builder for an image's digest and config. In mode local the digest
// identifies the image in the engine's store and pins nothing in a registry.
func resolve(ctx context.Context, gw gateway.Client, ref string, platform *ocispec.Platform, mode string) (images.BaseFacts, error) {
	f := images.BaseFacts{Ref: ref}
	_, dgst, config, err := gw.ResolveImageConfig(ctx, ref, sourceresolver.Opt{
		LogName:  resolveStep + shortRef(ref),
		ImageOpt: &sourceresolver.ResolveImageOpt{Platform: platform, ResolveMode: mode},
	})
	if err != nil {
		return f, err
	}
	switch {
	case dgst == "":
		// An engine with graphdrivers has its own copy without a digest. The image's id there
		// is the digest of its config.
		f.ID = digest.FromBytes(config).String()
	case mode == "local":
		f.ID = dgst.String()
	default:
		f.Digest = dgst.String()
	}
	return f, readConfig(&f, config, platform)
}

// readConfig copies the base's environment from its config. An image for another platform
// is an error, unless platform is nil.
func readConfig(f *images.BaseFacts, config []byte, platform *ocispec.Platform) error {
	var img ocispec.Image
	if err := json.Unmarshal(config, &img); err != nil {
		return fmt.Errorf("the config of %s: %w", f.Ref, err)
	}
	f.Env = img.Config.Env
	return checkPlatform(img.Platform, platform)
}

func shortRef(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(named)
}

// domain is the registry in an image's name.
func domain(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ""
	}
	return reference.Domain(named)
}

// reason is the last part of a chain of errors: the actual cause, without the names of the
// layers that passed it on.
func reason(err error) string {
	s := strings.TrimSpace(err.Error())
	if i := strings.LastIndex(s, "dial tcp"); i >= 0 {
		return s[i:]
	}
	if i := strings.LastIndex(s, "desc = "); i >= 0 {
		s = s[i+len("desc = "):]
	}
	return strings.TrimPrefix(s, "failed to solve: ")
}
