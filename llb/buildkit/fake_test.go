package buildkit

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/source"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/grpchijack"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	apicapspb "github.com/moby/buildkit/util/apicaps/pb"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const commit = "de3ff81aaaabbbbccccddddeeeeffff000011112"

func sha(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

// daemon is a BuildKit that has no solver: it answers as it is told and records
// what it was asked. It serves one build at a time.
type daemon struct {
	controlapi.UnimplementedControlServer

	// runs are the platforms of its worker, as os/arch or os/arch/variant.
	runs []string
	// without are the capabilities that it lacks.
	without []apicaps.CapID
	// resolve answers for an image; nil knows none.
	resolve func(ref, mode string) (*gwpb.ResolveImageConfigResponse, error)
	// files is the tree that every definition gives.
	files map[string]string
	// unreadable fails every look at a folder.
	unreadable error
	// solve is called for each definition; its error fails the solve.
	solve func(context.Context) error
	// progress is sent before the result.
	progress []*controlapi.StatusResponse
	// export is called for the result of a build, with the client's session.
	export func(context.Context, session.Caller) (map[string]string, error)

	socket   string
	server   *grpc.Server
	sessions *session.Manager
	returned chan *gwpb.ReturnRequest
	finished chan struct{}
	told     chan struct{}

	mu       sync.Mutex
	asked    []string
	request  *controlapi.SolveRequest
	result   *gwpb.ReturnRequest
	finishes sync.Once
}

// serve starts d on a unix socket.
func serve(t *testing.T, d *daemon) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "bk") // t.TempDir() can be too long for a socket.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d.socket = filepath.Join(dir, "s")
	if d.sessions, err = session.NewManager(); err != nil {
		t.Fatal(err)
	}
	d.returned, d.finished, d.told = make(chan *gwpb.ReturnRequest, 1), make(chan struct{}), make(chan struct{})
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	d.server = grpc.NewServer()
	controlapi.RegisterControlServer(d.server, d)
	gwpb.RegisterLLBBridgeServer(d.server, bridge{daemon: d})
	go d.server.Serve(l)
	t.Cleanup(d.server.Stop)
	return d
}

// dial is a builder at the daemon's own address.
func (d *daemon) dial(t *testing.T) *Builder {
	t.Helper()
	b, err := Dial(t.Context(), "unix://"+d.socket, nil, TLS{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// embed is a builder inside an engine.
func (d *daemon) embed(t *testing.T) *Builder {
	t.Helper()
	b, err := Dial(t.Context(), Auto, d, TLS{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// DialHijack is how an engine lets a client talk to its BuildKit.
func (d *daemon) DialHijack(ctx context.Context, url, proto string, meta map[string][]string) (net.Conn, error) {
	if url == "/grpc" && proto == "h2c" {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	}
	client, server := net.Pipe()
	go d.sessions.HandleConn(context.Background(), server, meta)
	return client, nil
}

func (d *daemon) ListWorkers(context.Context, *controlapi.ListWorkersRequest) (*controlapi.ListWorkersResponse, error) {
	var runs []*pb.Platform
	for _, p := range d.runs {
		f := append(strings.Split(p, "/"), "")
		runs = append(runs, &pb.Platform{OS: f[0], Architecture: f[1], Variant: f[2]})
	}
	return &controlapi.ListWorkersResponse{Record: []*apitypes.WorkerRecord{{ID: "one", Platforms: runs}}}, nil
}

func (d *daemon) Session(stream controlapi.Control_SessionServer) error {
	conn, closed, opts := grpchijack.Hijack(stream)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() { <-closed; cancel() }()
	return d.sessions.HandleConn(ctx, conn, opts)
}

func (d *daemon) Status(_ *controlapi.StatusRequest, stream controlapi.Control_StatusServer) error {
	for _, s := range d.progress {
		if err := stream.Send(s); err != nil {
			return err
		}
	}
	close(d.told)
	select {
	case <-d.finished:
	case <-stream.Context().Done():
	}
	return nil
}

// Solve is over when the client's build function has returned and its result is
// exported.
func (d *daemon) Solve(ctx context.Context, req *controlapi.SolveRequest) (*controlapi.SolveResponse, error) {
	defer d.finishes.Do(func() { close(d.finished) })
	d.mu.Lock()
	d.request = req
	d.mu.Unlock()
	var ret *gwpb.ReturnRequest
	select {
	case ret = <-d.returned:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// What a real daemon knows by now, the client knows too.
	select {
	case <-d.told:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d.mu.Lock()
	d.result = ret
	d.mu.Unlock()
	if ret.Error != nil {
		return nil, status.ErrorProto(ret.Error)
	}
	if d.export == nil {
		return &controlapi.SolveResponse{}, nil
	}
	caller, err := d.sessions.Get(ctx, req.Session, false)
	if err != nil {
		return nil, err
	}
	out, err := d.export(ctx, caller)
	return &controlapi.SolveResponse{ExporterResponse: out}, err
}

// bridge is the daemon's gateway service.
type bridge struct {
	gwpb.UnimplementedLLBBridgeServer
	*daemon
}

func (d bridge) Ping(context.Context, *gwpb.PingRequest) (*gwpb.PongResponse, error) {
	lacks := func(c *apicapspb.APICap) bool {
		// The client's older way to resolve an image is the one that is played here.
		return c.ID == string(gwpb.CapSourceMetaResolver) || slices.Contains(d.without, apicaps.CapID(c.ID))
	}
	return &gwpb.PongResponse{
		FrontendAPICaps: slices.DeleteFunc(gwpb.Caps.All(), lacks),
		LLBCaps:         slices.DeleteFunc(pb.Caps.All(), lacks),
	}, nil
}

func (d bridge) ResolveImageConfig(_ context.Context, req *gwpb.ResolveImageConfigRequest) (*gwpb.ResolveImageConfigResponse, error) {
	d.mu.Lock()
	asked := req.ResolveMode + " " + req.Ref
	// Of a builder that tells its platforms, it matters which one is asked for.
	if len(d.runs) > 0 && req.Platform != nil {
		asked += " " + req.Platform.OS + "/" + req.Platform.Architecture
	}
	d.asked = append(d.asked, asked)
	d.mu.Unlock()
	if d.resolve == nil {
		return nil, status.Errorf(codes.NotFound, "%s: not found", req.Ref)
	}
	return d.resolve(req.Ref, req.ResolveMode)
}

func (d bridge) ReadDir(_ context.Context, req *gwpb.ReadDirRequest) (*gwpb.ReadDirResponse, error) {
	if d.unreadable != nil {
		return nil, d.unreadable
	}
	dir := strings.Trim(req.DirPath, "/")
	seen := map[string]bool{}
	for name := range d.files {
		rest := name
		if dir != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(name, dir+"/"); !ok {
				continue
			}
		}
		first, _, _ := strings.Cut(rest, "/")
		seen[first] = true
	}
	// An image that has nothing to say has an empty folder for it.
	if len(seen) == 0 && "/"+dir != llb.Notes {
		return nil, status.Errorf(codes.Unknown, "open %s: no such file or directory", req.DirPath)
	}
	resp := &gwpb.ReadDirResponse{}
	for name := range seen {
		resp.Entries = append(resp.Entries, &types.Stat{Path: name})
	}
	return resp, nil
}

func (d bridge) ReadFile(_ context.Context, req *gwpb.ReadFileRequest) (*gwpb.ReadFileResponse, error) {
	return &gwpb.ReadFileResponse{Data: []byte(d.files[req.FilePath])}, nil
}

func (d bridge) Evaluate(context.Context, *gwpb.EvaluateRequest) (*gwpb.EvaluateResponse, error) {
	return &gwpb.EvaluateResponse{}, nil
}

func (d bridge) Return(_ context.Context, req *gwpb.ReturnRequest) (*gwpb.ReturnResponse, error) {
	d.returned <- req
	return &gwpb.ReturnResponse{}, nil
}

func (d bridge) Solve(ctx context.Context, _ *gwpb.SolveRequest) (*gwpb.SolveResponse, error) {
	if d.solve != nil {
		if err := d.solve(ctx); err != nil {
			return nil, err
		}
	}
	return &gwpb.SolveResponse{Result: &gwpb.Result{Result: &gwpb.Result_Ref{Ref: &gwpb.Ref{Id: "result"}}}}, nil
}

func (d *daemon) recorded() (*controlapi.SolveRequest, *gwpb.ReturnRequest, []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.request, d.result, d.asked
}

// imageConfig is a base's config with an environment.
func imageConfig(env ...string) []byte {
	dt, err := json.Marshal(map[string]any{"config": map[string]any{"Env": env}})
	if err != nil {
		panic(err)
	}
	return dt
}

// llamaTree is what a builder finds in llama.cpp.
func llamaTree() map[string]string {
	return map[string]string{
		"CMakeLists.txt": "project(\"llama.cpp\" C CXX)\n", "ggml/CMakeLists.txt": "", "tools/server/CMakeLists.txt": "", "LICENSE": "MIT",
	}
}

// query is for llama.cpp at a remote commit.
func query(change func(*Query)) Query {
	q := Query{
		Request: images.Request{Source: images.DefaultRepository, Variant: "cpu", Platform: "linux/amd64", CPU: images.CPUPortable},
		Checkout: source.Checkout{
			Location: images.DefaultRepository, Ref: "v0.5.0", Facts: images.SourceFacts{Kind: images.SourceGit, Commit: commit, Tag: "v0.5.0"},
		},
		Notice: func(string) {},
	}
	if change != nil {
		change(&q)
	}
	return q
}

// job is a build of llama.cpp for the CPU.
func job(t *testing.T) Job {
	t.Helper()
	q := query(nil)
	base := images.BaseFacts{Ref: "docker.io/library/debian:trixie-slim", Digest: sha("b")}
	f := images.Facts{Source: q.Checkout.Facts, Build: base, Runtime: base}
	f.Source.Tree = &images.Tree{ServerDir: "tools/server"}
	q.Request.Tags = []string{"a", "b"}
	r, err := q.Request.Normalise()
	if err != nil {
		t.Fatal(err)
	}
	p, err := images.MakePlan(r, f)
	if err != nil {
		t.Fatal(err)
	}
	return Job{Plan: p, Capabilities: llb.Capabilities{GitChecksum: true}}
}
