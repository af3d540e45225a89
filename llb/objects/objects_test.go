package objects

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/session/sshforward"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const (
	slotA    = "amd64-debian-trixie-slim/common/0123456789ab"
	slotB    = "amd64-debian-trixie-slim/ggml/0123456789ab"
	otherA   = "amd64-debian-trixie-slim/common/ba9876543210"
	compiler = "1111111111111111111111111111111111111111111111111111111111111111"
)

// hub is a registry that counts what is read of blobs.
type hub struct {
	*httptest.Server
	read atomic.Int64
	// fails is a status for whatever is asked next; 0 for none.
	fails atomic.Int32
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := h.fails.Load(); code != 0 {
			http.Error(w, "no", int(code))
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			h.read.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hub) ref() Ref {
	return Ref{Name: strings.TrimPrefix(h.URL, "http://") + "/cache:llama-objects"}
}

func carrier(t *testing.T, cfg Config) *Carrier {
	t.Helper()
	c, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// step is a compile step: a folder for ccache's storage, and the socket that a builder
// forwards to a session, by BuildKit's own code for both ends.
type step struct {
	t           *testing.T
	dir, socket string
	slot        string
	compiler    string
}

func newStep(t *testing.T, c *Carrier, slot string) step {
	t.Helper()
	for _, tool := range []string{"perl", "tar", "find"} {
		if _, err := exec.LookPath(tool); err != nil || runtime.GOOS != "linux" {
			t.Skipf("the scripts are for Linux, with %s", tool)
		}
	}
	// A socket's path has at most 107 bytes.
	dir, err := os.MkdirTemp("", "objects-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := step{t: t, dir: filepath.Join(dir, "objects"), socket: filepath.Join(dir, "sock"), slot: slot, compiler: compiler}
	server := grpc.NewServer()
	c.Register(server)
	wire, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "grpc"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(wire) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("unix://"+filepath.Join(dir, "grpc"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	sock, err := new(net.ListenConfig).Listen(t.Context(), "unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	go func() {
		for {
			c, err := sock.Accept()
			if err != nil {
				return
			}
			ctx := metadata.NewOutgoingContext(context.WithoutCancel(t.Context()), metadata.MD{sshforward.KeySSHID: {llb.ObjectsSocket}})
			stream, err := sshforward.NewSSHClient(conn).ForwardAgent(ctx)
			if err != nil {
				c.Close()
				return
			}
			go func() { _ = sshforward.Copy(ctx, c, stream, stream.CloseSend) }()
		}
	}()
	return s
}

// run runs the script that steps run, with places of this test's own.
func (s step) run(what string) {
	s.t.Helper()
	text, err := os.ReadFile("../scripts/objects.sh")
	if err != nil {
		s.t.Fatal(err)
	}
	ask, err := filepath.Abs("../scripts/ask.pl")
	if err != nil {
		s.t.Fatal(err)
	}
	script := filepath.Join(filepath.Dir(s.dir), "objects.sh")
	replaced := strings.NewReplacer("/tmp/objects", s.dir, "/llorch/ask.pl", ask).Replace(string(text))
	if err := os.WriteFile(script, []byte(replaced), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), "sh", script, what)
	cmd.Env = append(os.Environ(), "SLOT="+s.slot, "TOOLCHAIN="+s.compiler, "LLORCH_OBJECTS="+s.socket)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("objects.sh %s: %v\n%s", what, err, out)
	}
}

func object(n int) string { return fmt.Sprintf("%02x/%030d", n, n) }

// compiles does as ccache: what is there is read, what is not is added.
func (s step) compiles(objects ...int) (found int) {
	s.t.Helper()
	for _, n := range objects {
		in, out := filepath.Join(s.dir, "in", object(n)), filepath.Join(s.dir, "out", object(n))
		if _, err := os.Stat(in); err == nil {
			found++
			now := time.Now()
			if err := os.Chtimes(in, now, now); err != nil {
				s.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(out, bytes.Repeat([]byte{byte(n)}, 1000), 0o600); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "out", "CACHEDIR.TAG"), []byte("x"), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return found
}

// build is a build of steps, each of which compiles its objects.
func build(t *testing.T, cfg Config, steps map[string][]int) (found int, r Report) {
	t.Helper()
	c := carrier(t, cfg)
	slots := []string{slotA, slotB}
	for slot, objects := range steps {
		s := newStep(t, c, slot)
		s.run("get")
		found += s.compiles(objects...)
		s.run("put")
	}
	return found, c.Finish(t.Context(), slots)
}

func TestObjectsTravel(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	both := Config{From: []Ref{h.ref()}, To: &Ref{Name: h.ref().Name}}

	found, r := build(t, both, map[string][]int{slotA: {1, 2, 3}, slotB: {4}})
	if found != 0 || r.From != "" || r.To != h.ref().Name || r.Pushed < 4000 || len(r.Notices) > 0 {
		t.Errorf("the first build: found %d, %+v", found, r)
	}
	// Another runner, and another commit: one object is new, one is gone. The step of the
	// other slot is cached, and its objects stay.
	found, r = build(t, both, map[string][]int{slotA: {2, 3, 5}})
	if found != 2 || r.From != h.ref().Name || r.To == "" || r.Pulled < 3000 || r.Pushed > r.Pulled || len(r.Notices) > 0 {
		t.Errorf("the second build: found %d, %+v", found, r)
	}
	found, r = build(t, Config{From: both.From}, map[string][]int{slotA: {1, 2, 3, 5}, slotB: {4}})
	if found != 4 || r.To != "" {
		t.Errorf("a build that only reads: found %d, %+v", found, r)
	}
	// Nothing is written where nothing changed, whatever ran.
	if found, r = build(t, both, map[string][]int{slotA: {2, 3, 5}}); found != 3 || r.To != "" || r.Pushed != 0 {
		t.Errorf("a build of the same: found %d, %+v", found, r)
	}
	// A build whose steps are all cached reads no blob.
	h.read.Store(0)
	if _, r = build(t, both, nil); h.read.Load() != 0 || r.From != "" || r.To != "" {
		t.Errorf("a build of nothing read %d blobs, %+v", h.read.Load(), r)
	}
}

// Objects of other flags may fit; those of another compiler never do.
func TestWhatFits(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	ref := h.ref()
	build(t, Config{To: &ref}, map[string][]int{slotA: {1, 2}})
	if found, _ := build(t, Config{From: []Ref{ref}}, map[string][]int{otherA: {1, 3}}); found != 1 {
		t.Errorf("of the same part for other flags %d objects were found, want 1", found)
	}
	if found, _ := build(t, Config{From: []Ref{ref}}, map[string][]int{slotB: {1}}); found != 0 {
		t.Errorf("another part found %d", found)
	}
	c := carrier(t, Config{From: []Ref{ref}})
	s := newStep(t, c, slotA)
	s.compiler = strings.Repeat("2", 64)
	s.run("get")
	if found := s.compiles(1, 2); found != 0 {
		t.Errorf("another compiler found %d", found)
	}
}

// A registry that fails costs a notice, and no build.
func TestRegistryThatFails(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	ref := h.ref()
	h.fails.Store(http.StatusForbidden)
	found, r := build(t, Config{From: []Ref{ref}, To: &ref}, map[string][]int{slotA: {1}})
	if found != 0 || r.To != "" || len(r.Notices) != 2 || !strings.Contains(r.Notices[0], "cannot read it") || !strings.Contains(r.Notices[1], "cannot write it") {
		t.Errorf("%d, %+v", found, r)
	}
	h.fails.Store(0)
	// The first that has the slot counts; one that is not there is no news.
	build(t, Config{To: &ref}, map[string][]int{slotA: {1}})
	none := Ref{Name: strings.TrimSuffix(ref.Name, "cache:llama-objects") + "none:here-objects"}
	if found, r = build(t, Config{From: []Ref{none, ref}}, map[string][]int{slotA: {1}}); found != 1 || r.From != ref.Name || len(r.Notices) > 0 {
		t.Errorf("%d, %+v", found, r)
	}
}

// A step is nobody to trust: what it says is checked, and what it may not say is refused.
func TestWhatStepsMayAsk(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	ref := h.ref()
	writes := carrier(t, Config{To: &ref, Max: 4096})
	reads := carrier(t, Config{From: []Ref{ref}})
	query := "?toolchain=" + compiler
	for name, c := range map[string]struct {
		carrier      *Carrier
		method, path string
		body         []byte
		want         int
	}{
		"may I":                {writes, http.MethodGet, "/wanted", nil, 200},
		"may I not":            {reads, http.MethodGet, "/wanted", nil, 403},
		"nothing there":        {reads, http.MethodGet, "/slots/" + slotA + query, nil, 404},
		"no compiler":          {reads, http.MethodGet, "/slots/" + slotA, nil, 400},
		"no slot":              {reads, http.MethodGet, "/slots/a" + query, nil, 400},
		"out of the folder":    {writes, http.MethodPut, "/slots/..%2f..%2fx/y/0123456789ab" + query, nil, 400},
		"read-only":            {reads, http.MethodPut, "/slots/" + slotA + query, nil, 403},
		"no archive":           {writes, http.MethodPut, "/slots/" + slotA + query, []byte(strings.Repeat("x", 600)), 400},
		"an archive, too much": {writes, http.MethodPut, "/slots/" + slotA + query, make([]byte, 5000), 400},
	} {
		w := httptest.NewRecorder()
		c.carrier.routes().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, c.path, bytes.NewReader(c.body)))
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", name, w.Code, c.want)
		}
	}
	if r := writes.Finish(t.Context(), nil); r.To != "" {
		t.Errorf("something was written: %+v", r)
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	at := func(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	entries := []entry{
		{slot: "old", size: 30, created: at(1)},
		{slot: "new", size: 30, created: at(3)},
		{slot: "mine", size: 40, created: at(2)},
		{slot: "mine-small", size: 10},
		{slot: "mine-huge", size: 101},
	}
	names := func(all []entry) (out []string) {
		for _, e := range all {
			out = append(out, e.slot)
		}
		return out
	}
	kept, left := fit(entries, []string{"mine", "mine-small", "mine-huge"}, 100)
	if diff := cmp.Diff([]string{"mine", "mine-small", "new"}, names(kept)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"mine-huge", "old"}, names(left)); diff != "" {
		t.Error(diff)
	}
}

func TestBeside(t *testing.T) {
	t.Parallel()
	for cache, want := range map[string]string{
		"r.io:5000/z":                      "r.io:5000/z:latest-objects",
		"me/cache:a":                       "me/cache:a-objects",
		"me/x@sha256:" + compiler:          "",
		"me/x:" + strings.Repeat("a", 125): "",
		"":                                 "",
	} {
		got, err := Beside(cache)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", cache, got, err)
		}
	}
}
