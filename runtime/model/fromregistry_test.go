package model

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// registryRig is a rig with a registry beside it that keeps its blobs on the content
// network, as Docker's does.
type registryRig struct {
	*rig
	host string

	mu sync.Mutex
	// seen are the requests for the registry's own content that it answered.
	seen []string
	// user is who may read, empty for everybody; down answers nothing but 503.
	user string
	down bool
	// uses is how many requests a token is good for, 0 where none is asked for; left
	// is what is left of the last one's, tokens how many were given.
	uses, left, tokens int
	// away are blobs that the registry redirects for.
	away map[string]string
}

func newRegistry(t *testing.T) *registryRig {
	t.Helper()
	// A login of this machine's user is none of the test's.
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	r := &registryRig{rig: newRig(t), away: map[string]string{}}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		user, down, away := r.user, r.down, r.away[filepath.Base(q.URL.Path)]
		r.seen = append(r.seen, q.Method+" "+q.URL.Path)
		r.mu.Unlock()
		got, _, _ := q.BasicAuth()
		switch {
		case q.URL.Path == "/token":
			fmt.Fprintf(w, `{"token":"token-%d"}`, r.give())
		case !down && !r.shown(q.Header.Get("Authorization")):
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+q.Host+`/token",service="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		case down:
			w.WriteHeader(http.StatusServiceUnavailable)
		case user != "" && got != user:
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		case away != "" && q.Method == http.MethodGet:
			http.Redirect(w, q, away, http.StatusTemporaryRedirect)
		default:
			inner.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// give makes a new token.
func (r *registryRig) give() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens, r.left = r.tokens+1, r.uses
	return r.tokens
}

// shown says whether a request has a token that is still good, or needs none.
func (r *registryRig) shown(field string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.uses == 0 {
		return true
	}
	r.left--
	return r.left >= 0 && field == fmt.Sprintf("Bearer token-%d", r.tokens)
}

// layer is a file in an artifact.
type layer struct {
	kind, file string
	body       []byte
}

// push makes an artifact, and moves its layers to the content network.
func (r *registryRig) push(t *testing.T, tag string, layers ...layer) string {
	t.Helper()
	var adds []mutate.Addendum
	for _, l := range layers {
		add := mutate.Addendum{Layer: static.NewLayer(l.body, types.MediaType(l.kind)), MediaType: types.MediaType(l.kind)}
		if l.file != "" {
			add.Annotations = map[string]string{"org.cncf.model.filepath": l.file}
		}
		adds = append(adds, add)
	}
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), adds...)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(r.host + "/" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range layers {
		r.away["sha256:"+sum(l.body)] = r.hub.Serve("blobs/"+sum(l.body), "", l.body)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	r.seen = nil
	return d.Hex
}

func (r *registryRig) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.seen...)
}

const dockerGGUF = "application/vnd.docker.ai.gguf.v3"

//nolint:paralleltest // the environment is the process's
func TestRegistry(t *testing.T) {
	r := newRegistry(t)
	body := aModel(12<<20, 1)
	digest := r.push(t, "ai/tiny:Q8_0",
		layer{"application/vnd.docker.ai.license", "", []byte("Apache-2.0")}, layer{dockerGGUF, "", body}, layer{"application/vnd.docker.ai.mmproj", "", aModel(4096, 9)})
	raw := "oci://" + r.host + "/ai/tiny:Q8_0"
	l := r.must(t, raw, body)
	if filepath.Base(l.Path) != "tiny.gguf" || l.Shards != 1 {
		t.Errorf("it is %+v", l)
	}
	// By its digest it is here, whatever becomes of the registry.
	asked := len(r.requests())
	r.must(t, "oci://"+r.host+"/ai/tiny@sha256:"+digest, body)
	if now := r.requests(); len(now) != asked {
		t.Errorf("for a pinned model that is here the registry was asked %v", now[asked:])
	}
	sent := r.hub.Sent()
	r.must(t, raw, body)
	r.mu.Lock()
	r.down = true
	r.mu.Unlock()
	r.must(t, raw, body)
	if !r.events.said("the last one known for Q8_0") {
		t.Errorf("that the registry is away is not said: %v", r.events.notes)
	}
	r.mu.Lock()
	r.down = false
	r.mu.Unlock()
	if r.hub.Sent() != sent {
		t.Error("what is here was fetched again")
	}

	// A tag that moved is followed, and both models are listed by what they are.
	other := aModel(12<<20, 2)
	r.push(t, "ai/tiny:Q8_0", layer{dockerGGUF, "other-Q8_0.gguf", other})
	last := r.must(t, raw, other)
	if filepath.Base(last.Path) != "other-Q8_0.gguf" {
		t.Errorf("its name is %s", last.Path)
	}
	all, err := r.Store.List()
	if err != nil || len(all) != 2 {
		t.Fatalf("the list is %+v, %v", all, err)
	}
	for _, m := range all {
		if !strings.HasPrefix(m.Ref, "oci://"+r.host+"/ai/tiny@sha256:") {
			t.Errorf("one is called %s", m.Ref)
		}
		if again := r.must(t, m.Ref, mustRead(t, m.Path)); again.Path != m.Path {
			t.Errorf("%s is %s, not %s", m.Ref, again.Path, m.Path)
		}
	}
	if found, err := r.Store.Find(raw); err != nil || len(found) != 1 || found[0].Path != last.Path {
		t.Errorf("%s finds %+v, %v", raw, found, err)
	}
	r.Environment.Offline = true
	r.must(t, raw, other)
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

//nolint:paralleltest // as above
func TestRegistryShards(t *testing.T) {
	r := newRegistry(t)
	one, two := aModel(9<<20, 1), aModel(4096, 2)
	for tag, c := range map[string]struct {
		names [2]string
		first string
	}{
		"said":    {[2]string{"m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"}, "m-Q8_0-00001-of-00002.gguf"},
		"unsaid":  {[2]string{}, "tiny-00001-of-00002.gguf"},
		"evil":    {[2]string{"../../etc/cron.gguf", "x\n.gguf"}, "tiny-00001-of-00002.gguf"},
		"crossed": {[2]string{"m-00002-of-00002.gguf", "m-00001-of-00002.gguf"}, "tiny-00001-of-00002.gguf"},
	} {
		t.Run(tag, func(t *testing.T) {
			r.push(t, "ai/tiny:"+tag, layer{dockerGGUF, c.names[0], one}, layer{dockerGGUF, c.names[1], two})
			l, err := r.fetch(t, "oci://"+r.host+"/ai/tiny:"+tag)
			if err != nil {
				t.Fatal(fault.Report(err))
			}
			if l.Shards != 2 || l.Size != int64(len(one)+len(two)) || filepath.Base(l.Path) != c.first {
				t.Errorf("it is %+v", l)
			}
			for i, file := range gguf.Shards(filepath.Base(l.Path)) {
				if got := mustRead(t, filepath.Join(filepath.Dir(l.Path), file)); sum(got) != sum([][]byte{one, two}[i]) {
					t.Errorf("%s is another file", file)
				}
			}
		})
	}
}

// TestRegistryLogin holds that a login reaches the registry alone.
//
//nolint:paralleltest // as above
func TestRegistryLogin(t *testing.T) {
	r := newRegistry(t)
	body := aModel(12<<20, 1)
	r.push(t, "org/private:1", layer{dockerGGUF, "", body})
	r.user = "somebody"
	r.Environment.Token = "hf_secret"
	raw := "oci://" + r.host + "/org/private:1"
	_, err := r.fetch(t, raw)
	if fault.ClassOf(err) != fault.Model || !strings.Contains(fault.Report(err), "docker login") {
		t.Errorf("without a login: %v", err)
	}
	config := `{"auths":{"` + r.host + `":{"username":"somebody","password":"secret"}}}`
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	r.must(t, raw, body)
	for _, q := range r.hub.Requests() {
		if q.Authorization != "" {
			t.Errorf("the content network was shown %q", q.Authorization)
		}
	}
}

// TestRegistryTokens holds that a token is asked for, again when it has expired, and
// shown to the registry alone.
//
//nolint:paralleltest // as above
func TestRegistryTokens(t *testing.T) {
	r := newRegistry(t)
	body := aModel(12<<20, 1)
	r.push(t, "ai/tiny:1", layer{dockerGGUF, "", body})
	r.uses = 1
	r.must(t, "oci://"+r.host+"/ai/tiny:1", body)
	if r.tokens < 2 {
		t.Errorf("%d tokens for %v", r.tokens, r.requests())
	}
	for _, q := range r.hub.Requests() {
		if q.Authorization != "" {
			t.Errorf("the content network was shown %q", q.Authorization)
		}
	}
}

//nolint:paralleltest // as above
func TestRegistryRefusals(t *testing.T) {
	r := newRegistry(t)
	r.push(t, "ai/image:1", layer{string(types.OCILayer), "", []byte("a file system")})
	index, err := name.ParseReference(r.host + "/ai/index:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(index, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Image})); err != nil {
		t.Fatal(err)
	}
	r.push(t, "ai/page:1", layer{dockerGGUF, "", []byte(strings.Repeat("<html>", 3<<20))})
	r.push(t, "ai/short:1", layer{dockerGGUF, "", []byte("GGUF")})
	body := aModel(12<<20, 1)
	r.push(t, "ai/good:1", layer{dockerGGUF, "", body})
	for what, c := range map[string]struct{ ref, want string }{
		"no repository":  {"/ai/nothing:1", "docker login"},
		"no tag":         {"/ai/good:2", "check the name and the tag"},
		"an image":       {"/ai/image:1", "no layer with a GGUF file"},
		"an index":       {"/ai/index:1", "an index of images"},
		"a page":         {"/ai/page:1", "HTML page"},
		"four bytes":     {"/ai/short:1", "4 bytes"},
		"another hash":   {"/ai/good:1#sha256=" + sum([]byte("x")), "in the registry"},
		"another digest": {"/ai/good@sha256:" + sum([]byte("x")), "check the name"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := r.fetch(t, "oci://"+r.host+c.ref)
			if fault.ClassOf(err) != fault.Model || !strings.Contains(fault.Report(err), c.want) {
				t.Errorf("%s", fault.Report(err))
			}
			if left := tree(t, r.Store.Dir()); len(left) > 1 {
				t.Errorf("it left %v", left)
			}
		})
	}
	// A layer that is not what its digest says is never kept.
	r.hub.Serve("blobs/"+sum(body), "", aModel(12<<20, 7))
	if _, err := r.fetch(t, "oci://"+r.host+"/ai/good:1"); !errors.As(err, new(*digest.MismatchError)) {
		t.Errorf("%v", err)
	}
}
