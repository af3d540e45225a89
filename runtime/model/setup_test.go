package model

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	fixture "github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// someSum is a hash that no test's content has.
var someSum = strings.Repeat("ab", 32)

// aModel is what a test carries about as a model.
var aModel = fixture.Noise

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// instant is a timer that never waits and remembers how long it should have.
type instant struct {
	mu    sync.Mutex
	waits []time.Duration
}

func (i *instant) timer() backoff.Timer { return &tick{i, make(chan time.Time, 1)} }

func (i *instant) all() []time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.waits)
}

type tick struct {
	of *instant
	c  chan time.Time
}

func (t *tick) Start(d time.Duration) {
	t.of.mu.Lock()
	t.of.waits = append(t.of.waits, d)
	t.of.mu.Unlock()
	t.c <- time.Time{}
}
func (t *tick) Stop()               {}
func (t *tick) C() <-chan time.Time { return t.c }

// recorder is a Progress that remembers, and calls set at each Set.
type recorder struct {
	mu    sync.Mutex
	names []string
	notes []string
	open  int
	set   func(done int64)
}

func (r *recorder) Begin(name string, _ int64) Task {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
	r.open++
	return r
}

func (r *recorder) Set(done int64) {
	if r.set != nil {
		r.set(done)
	}
}

func (r *recorder) Note(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, line)
}

func (r *recorder) End(error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
}

func (r *recorder) said(part string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.notes, func(n string) bool { return strings.Contains(n, part) })
}

// rig is a hub, a store that does not exist yet, and a fetcher between them.
type rig struct {
	*Fetcher
	hub    *hub.Hub
	clock  *instant
	events *recorder
}

func newRig(t *testing.T) *rig {
	t.Helper()
	h := hub.New(t)
	models := openStore(filepath.Join(t.TempDir(), "models"))
	r := &rig{hub: h, clock: &instant{}, events: &recorder{}}
	r.Fetcher = &Fetcher{
		Environment: Environment{Endpoint: h.Endpoint(), StoreDir: models.Dir()},
		Store:       models, Progress: r.events, Stall: 5 * time.Second, newTimer: r.clock.timer,
	}
	return r
}

// openStore panics where there is no working folder.
func openStore(dir string) *store.Store {
	s, err := store.Open(dir)
	if err != nil {
		panic(err)
	}
	return s
}

// again is a second process on the same store and hub.
func (r *rig) again() *rig {
	c := *r.Fetcher
	events := &recorder{}
	c.Store = openStore(r.Store.Dir())
	c.Progress = events
	return &rig{&c, r.hub, r.clock, events}
}

func parse(t *testing.T, raw string) Ref {
	t.Helper()
	ref, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (r *rig) fetch(t *testing.T, raw string) (Local, error) {
	t.Helper()
	return r.Fetch(t.Context(), parse(t, raw))
}

// must fetches and checks everything that is promised about a fetched file.
func (r *rig) must(t *testing.T, raw string, want []byte) Local {
	t.Helper()
	l, err := r.fetch(t, raw)
	if err != nil {
		t.Fatalf("%s: %s", raw, fault.Report(err))
	}
	got, err := os.ReadFile(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	if sum(got) != sum(want) {
		t.Fatalf("%s: the file has %d bytes, hash %.8s; want %d, %.8s", raw, len(got), sum(got), len(want), sum(want))
	}
	if l.SHA256 != sum(want) || l.Size != int64(len(want)) {
		t.Errorf("%s: Local says %d bytes, hash %q", raw, l.Size, l.SHA256)
	}
	if filepath.Join(l.Dir, filepath.FromSlash(l.Rel)) != l.Path {
		t.Errorf("%s: Dir %q and Rel %q do not make Path %q", raw, l.Dir, l.Rel, l.Path)
	}
	// The folder must hold wherever it is mounted.
	real, err := filepath.EvalSymlinks(l.Path)
	if err != nil || !strings.HasPrefix(real, l.Dir+"/blobs/") {
		t.Errorf("%s: the file is %q, %v", raw, real, err)
	}
	if target, err := os.Readlink(l.Path); err != nil || filepath.IsAbs(target) {
		t.Errorf("%s: symlink to %q, %v", raw, target, err)
	}
	for _, p := range tree(t, r.Store.Dir()) {
		if strings.HasSuffix(p, ".incomplete") || strings.Contains(p, ".lock") {
			t.Errorf("%s left %s", raw, p)
		}
	}
	return l
}

// tree is everything below a folder.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err == nil {
			all = append(all, strings.TrimPrefix(p, dir))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantFault(t *testing.T, err error, class fault.Class, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if got := fault.ClassOf(err); got != class {
		t.Errorf("class %d, want %d: %v", got, class, err)
	}
	text := fault.Report(err)
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("the report lacks %q:\n%s", w, text)
		}
	}
	if class != fault.Usage && !strings.Contains(text, "what to do: ") {
		t.Errorf("no advice:\n%s", text)
	}
}

func canceled(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}
