package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/docker/api/types/image"
	dockerclient "github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/objects"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/moby/buildkit/client"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"
)

// Loader loads an image archive into an engine.
type Loader interface {
	ImageLoad(ctx context.Context, input io.Reader, opts ...dockerclient.ImageLoadOption) (image.LoadResponse, error)
}

// Job is one build.
type Job struct {
	Plan images.Plan
	// Others are plans of the same request for other platforms. Their images form an index
	// with Plan's. An engine accepts only one platform.
	Others       []images.Plan
	Capabilities llb.Capabilities
	// Source is the tree to send, if the plan's source is on this machine; nil if the
	// builder fetches it.
	Source *source.Content
	// Local is this machine's base, if the plan uses it.
	Local *LocalBase
	// Kept is what this machine has stored, so that no step needs to download it.
	Kept Kept
	// Jobs is the number of compilers that run at once; 0 lets the builder decide by its
	// cores and memory.
	Jobs int
	// Lock is the lock that the plan was made from, to be put into the image.
	Lock []byte
	// Fresh compiles everything again, even if it is cached; cache mounts are kept.
	Fresh bool
	// Engine loads the image from a builder that is not the engine's own.
	Engine Loader
	// Output is the destination of the image, instead of an engine.
	Output Output
	// Proxy and CACert (PEM) are for the steps that need a network.
	Proxy  llb.Proxy
	CACert []byte
	// Caches are layer caches outside this builder.
	Caches Caches
	// Status receives the builder's progress.
	Status func(*client.SolveStatus)
}

// Output is the destination of an image. The zero value is the engine.
type Output struct {
	// Push pushes the image from the builder to the registries in its tags.
	Push bool
	// Insecure are registries, as named in tags, for which a missing TLS or an untrusted
	// certificate is accepted.
	Insecure []string
	// Attest adds attestations: an SPDX document, a manifest of device code and BuildKit's
	// provenance.
	Attest bool
	// Archive, if not nil, receives the image as a tar archive of an OCI layout.
	Archive io.WriteCloser
}

// Elsewhere reports whether the image goes to another destination than the engine.
func (o Output) Elsewhere() bool { return o.Push || o.Archive != nil }

// exports are the exporters for an image with these names.
func (o Output) exports(tags []string) []client.ExportEntry {
	attrs := func(more ...string) map[string]string {
		m := map[string]string{"oci-mediatypes": "true", "compression": "gzip"}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	if o.Archive != nil {
		return []client.ExportEntry{{
			Type: client.ExporterOCI, Attrs: attrs("name", strings.Join(tags, ",")),
			Output: func(map[string]string) (io.WriteCloser, error) { return o.Archive, nil },
		}}
	}
	// Insecure applies only to the registries that it names.
	by := map[bool][]string{}
	for _, tag := range tags {
		insecure := slices.Contains(o.Insecure, domain(tag))
		by[insecure] = append(by[insecure], tag)
	}
	var out []client.ExportEntry
	for _, insecure := range []bool{false, true} {
		if names := by[insecure]; len(names) > 0 {
			out = append(out, client.ExportEntry{
				Type: client.ExporterImage, Attrs: attrs("name", strings.Join(names, ","), "push", "true", "registry.insecure", strconv.FormatBool(insecure)),
			})
		}
	}
	return out
}

// Result is the result of a build.
type Result struct {
	// Digest is the exporter's digest of the image: the manifest's digest, or on an engine
	// with graphdrivers the image's id.
	Digest string
	// ConfigDigest is the digest of the image's config, which is the image's id on every
	// engine with graphdrivers; empty if the builder does not report it.
	ConfigDigest string
	// Steps are the steps that ran or were cached, slowest first.
	Steps []Step
	// Layers are the names of the layers above the runtime base, lowest first.
	Layers []string
	// Notes are remarks about how the image was compiled: where another compiler than the
	// plan's was used, and why.
	Notes []string
	// Objects is what was transferred from and to the registry's compiler cache.
	Objects objects.Report
}

// Build solves a plan into an image and exports it to the job's destination. A failed compile
// is a fault.Build with the last lines of its log.
func (b *Builder) Build(ctx context.Context, j Job) (Result, error) {
	solve, opt, err := j.solve()
	if err != nil {
		return Result{}, err
	}
	if j.Fresh {
		opt.Fresh = identity.NewID()
	}
	if err := b.Takes(ctx, j.Caches, j.Output); err != nil {
		return Result{}, err
	}
	if j.Output.Attest {
		solve.FrontendAttrs["attest:provenance"] = "mode=max,version=v1"
	}
	solve.CacheImports, solve.CacheExports = j.Caches.Imports, j.Caches.Exports
	carried, err := carry(ctx, j)
	if err != nil {
		return Result{}, err
	}
	defer carried.close()
	solve.Session = append(solve.Session, carried.attachables()...)
	result, tail, err := b.attempt(ctx, j, solve, opt)
	if err != nil && ctx.Err() == nil && b.lostMessage(j.Capabilities, err) {
		// Finished steps are cached, and the graph is the same.
		result, tail, err = b.attempt(ctx, j, solve, opt)
	}
	if err != nil {
		return Result{}, b.explain(ctx, "the build failed", err, tail)
	}
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	result.Objects = carried.finish(ctx)
	return result, nil
}

// solve returns what this machine offers to the builder for the job's plan, and the matching
// options of the graph.
func (j Job) solve() (client.SolveOpt, llb.Options, error) {
	opt := llb.Options{Proxy: j.Proxy, Lock: j.Lock, Tree: j.Source != nil}
	solve := client.SolveOpt{
		// A builder warns about a result for another platform than the requested one, and
		// assumes its own platform without a request.
		FrontendAttrs: map[string]string{"platform": strings.Join(platformsIn(j.plans()), ",")},
		Session:       []session.Attachable{secretsprovider.FromMap(j.secrets()), registryAuth()},
	}
	if j.Source != nil {
		solve.LocalMounts = map[string]fsutil.FS{llb.SourceMount: sourceFS{*j.Source}}
	}
	if j.Kept.Images == nil && slices.ContainsFunc(j.plans(), func(p images.Plan) bool { return p.Build.Layout || p.Runtime.Base.Layout }) {
		if j.Local == nil {
			return solve, opt, errors.New("the plan needs a base of this machine, but the job has none")
		}
		solve.OCIStores = map[string]content.Store{llb.BaseStore: j.Local.Store}
	}
	for _, p := range j.plans() {
		if err := j.Kept.offer(p, &solve, &opt); err != nil {
			return solve, opt, err
		}
	}
	return solve, opt, nil
}

// sends reports whether the builder receives files of this machine.
func sends(opt llb.Options) bool { return opt.Tree || len(opt.Sent) > 0 }

// lostMessage matches an error of the BuildKit in engines of the 20.10 line: a message between
// it and our session was truncated. It occurs about once in sixty builds here, is nobody's
// answer, and the same build succeeds when repeated.
func (b *Builder) lostMessage(caps llb.Capabilities, err error) bool {
	return b.OneAtATime(caps) && strings.HasSuffix(err.Error(), "desc = unexpected EOF")
}

// attempt solves a plan once, and returns the log's tail for the error.
func (b *Builder) attempt(ctx context.Context, j Job, solve client.SolveOpt, opt llb.Options) (Result, *tail, error) {
	tail := newTail(j.Status)
	solving, status := ctx, tail.update
	if b.OneAtATime(j.Capabilities) {
		l := newLull()
		held, end := l.hold(ctx)
		defer end()
		solving, status = held, func(s *client.SolveStatus) {
			l.update(s)
			tail.update(s)
		}
	}
	var all []made
	resp, err := b.export(solving, j, solve, status, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		opt := opt
		opt.Session = gw.BuildOpts().SessionID
		if sends(opt) && opt.Session == "" {
			return nil, errNoSession
		}
		var err error
		if all, err = b.makeImages(ctx, gw, j, opt, tail); err != nil {
			return nil, err
		}
		return together(all)
	})
	if err != nil {
		return Result{}, tail, err
	}
	return Result{
		Digest:       resp.ExporterResponse[exptypes.ExporterImageDigestKey],
		ConfigDigest: resp.ExporterResponse[exptypes.ExporterImageConfigDigestKey],
		Steps:        tail.finished(),
		Layers:       all[0].graph.Layers,
		Notes:        notesOf(all),
	}, tail, nil
}

// secrets are the values for steps that must be in no key and no layer.
func (j Job) secrets() map[string][]byte {
	m := map[string][]byte{llb.JobsSecret: []byte(strconv.Itoa(j.Jobs))}
	var snapshots []string
	for _, p := range j.plans() {
		for _, s := range p.Snapshots {
			if !slices.Contains(snapshots, s) {
				snapshots = append(snapshots, s)
			}
		}
	}
	if len(snapshots) > 0 {
		m[llb.SnapshotsSecret] = []byte(strings.Join(snapshots, "\n"))
	}
	if len(j.CACert) > 0 {
		m[llb.CASecret] = j.CACert
	}
	return m
}

// solveGraph solves a graph and runs the image's checks. It passes every definition to knows
// before it solves any.
func solveGraph(ctx context.Context, gw gateway.Client, g llb.Graph, caches []gateway.CacheOptionsEntry, knows func(*bkllb.Definition)) (*gateway.Result, error) {
	var defs []*bkllb.Definition
	for _, st := range slices.Concat(g.Stages, []bkllb.State{g.Image}, g.Checks) {
		def, err := st.Marshal(ctx)
		if err != nil {
			return nil, err
		}
		knows(def)
		defs = append(defs, def)
	}
	var image *gateway.Result
	// In order, because the checks depend on the image.
	for i, def := range defs {
		res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true, CacheImports: caches})
		if err != nil {
			return nil, err
		}
		if i == len(g.Stages) {
			image = res
		}
	}
	return image, nil
}

// readNotes reads an image's remarks about how it was compiled.
func readNotes(ctx context.Context, res *gateway.Result) ([]string, error) {
	ref, err := res.SingleRef()
	if err != nil || ref == nil {
		return nil, err
	}
	files, err := ref.ReadDir(ctx, gateway.ReadDirRequest{Path: llb.Notes})
	if err != nil {
		return nil, fmt.Errorf("read the image's notes: %w", err)
	}
	var notes []string
	for _, f := range files {
		data, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: path.Join(llb.Notes, f.Path)})
		if err != nil {
			return nil, fmt.Errorf("read the image's notes: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			notes = append(notes, strings.TrimSpace(line))
		}
	}
	return notes, nil
}

// export runs a build with the exporter for the job's destination: the engine that contains
// the builder, or another one through a pipe.
func (b *Builder) export(ctx context.Context, j Job, opt client.SolveOpt, status func(*client.SolveStatus), build gateway.BuildFunc) (*client.SolveResponse, error) {
	names := strings.Join(j.Plan.Image.Tags, ",")
	switch {
	case j.Output.Elsewhere():
		opt.Exports = j.Output.exports(j.Plan.Image.Tags)
	case b.Embedded:
		opt.Exports = []client.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": names}}}
	case j.Engine == nil:
		return nil, fault.New(fault.Machine, "no engine to load the image into", nil, "run llorch-bk setup")
	default:
		return b.load(ctx, j, names, opt, status, build)
	}
	return b.run(ctx, opt, status, build)
}

// load streams the image from the builder into an engine. The side that fails first closes
// the pipe with its error, so that neither waits for the other.
func (b *Builder) load(ctx context.Context, j Job, names string, opt client.SolveOpt, status func(*client.SolveStatus), build gateway.BuildFunc) (*client.SolveResponse, error) {
	r, w := io.Pipe()
	opt.Exports = []client.ExportEntry{{
		Type:   client.ExporterDocker,
		Attrs:  map[string]string{"name": names},
		Output: func(map[string]string) (io.WriteCloser, error) { return w, nil },
	}}
	var resp *client.SolveResponse
	// The first failure causes the other one, so it is recorded before the pipe passes it
	// on.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var g errgroup.Group
	g.Go(func() error {
		var err error
		if resp, err = b.run(ctx, opt, status, build); err != nil {
			fail(err)
		}
		w.CloseWithError(err)
		return err
	})
	g.Go(func() error {
		loaded, err := j.Engine.ImageLoad(ctx, r)
		if err == nil {
			err = drainLoad(loaded)
		}
		if err != nil {
			fail(err)
		}
		r.CloseWithError(err)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, context.Cause(ctx)
	}
	return resp, nil
}

// run is client.Build with a status channel that is always drained, because the client blocks
// on it.
func (b *Builder) run(ctx context.Context, opt client.SolveOpt, status func(*client.SolveStatus), build gateway.BuildFunc) (*client.SolveResponse, error) {
	ch := make(chan *client.SolveStatus)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range ch {
			if status != nil {
				status(s)
			}
		}
	}()
	held, lacks := b.held(&opt, build)
	resp, err := b.client.Build(ctx, opt, "llorch-bk", held, ch)
	<-done
	if err != nil && *lacks != nil {
		return nil, *lacks
	}
	return resp, err
}

// registryAuth gives a builder the user's registry credentials. There are none if the file
// is not readable.
func registryAuth() session.Attachable {
	cfg, err := config.Load(config.Dir())
	if err != nil {
		cfg = configfile.New("")
	}
	return authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: authprovider.LoadAuthConfig(cfg)})
}

var errLoad = errors.New("the engine did not load the image")
