package mirror_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	fixture "github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/mirror"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

const (
	repo  = "org/tiny"
	main4 = "tiny-Q4_K_M.gguf"
	deep8 = "q8/tiny-Q8_0.gguf"
	plain = "small-Q4_0.gguf"
	size  = 700_000
)

// aModel is what a test carries about as a model.
var aModel = fixture.Noise

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// site is a store that was filled from a hub, and a mirror of it.
type site struct {
	hub     *hub.Hub
	store   *store.Store
	content map[string][]byte
	*mirror.Mirror
	*httptest.Server
	// mu guards seen.
	mu   sync.Mutex
	seen []mirror.Request
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{hub: hub.New(t), content: map[string][]byte{main4: aModel(size, 1), deep8: aModel(300_000, 2), plain: aModel(5000, 3)}}
	s.hub.Add(repo, main4, s.content[main4])
	s.hub.Add(repo, deep8, s.content[deep8])
	s.hub.AddPlain(repo, plain, s.content[plain])
	s.store = open(t)
	f := &model.Fetcher{Environment: model.Environment{Endpoint: s.hub.Endpoint()}, Store: s.store}
	for file := range s.content {
		get(t, f, "hf:"+repo+"/"+file)
	}
	s.Mirror = &mirror.Mirror{Store: s.store, Saw: func(r mirror.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, r)
	}}
	s.start(t)
	return s
}

// start serves the mirror as it is set now.
func (s *site) start(t *testing.T) {
	t.Helper()
	s.Server = httptest.NewServer(s.Handler())
	t.Cleanup(s.Close)
}

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "models"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// folder is the store's folder of the repository.
func (s *site) folder(t *testing.T) store.Folder {
	t.Helper()
	r, err := ref.Repository(repo, "")
	if err != nil {
		t.Fatal(err)
	}
	return s.store.Folder(r)
}

// second is another machine, which knows no hub but the mirror.
func (s *site) second(t *testing.T) *model.Fetcher {
	t.Helper()
	return &model.Fetcher{Environment: model.Environment{Endpoint: s.URL}, Store: open(t)}
}

func fetch(ctx context.Context, t *testing.T, f *model.Fetcher, raw string) (model.Local, error) {
	t.Helper()
	r, err := model.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return f.Fetch(ctx, r)
}

func get(t *testing.T, f *model.Fetcher, raw string) model.Local {
	t.Helper()
	l, err := fetch(t.Context(), t, f, raw)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return l
}

// ask sends a request with fields, "Name: value".
func (s *site) ask(t *testing.T, method, path, body string, fields ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, got
}

// into asks for JSON.
func (s *site) into(t *testing.T, path string, v any) *http.Response {
	t.Helper()
	resp, body := s.ask(t, http.MethodGet, path, "")
	if err := json.Unmarshal(body, v); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", path, resp.Status, err, body)
	}
	return resp
}
