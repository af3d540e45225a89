package mirror_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/mirror"
)

// Another machine's llorch-bk has from the mirror what it would have from the Hub.
func TestSecondMachine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.second(t)
	commit := s.hub.Commit(repo)
	for raw, file := range map[string]string{
		"hf:" + repo + ":Q4_K_M":                  main4,
		"hf:" + repo:                              main4,
		"hf:" + repo + ":q8_0":                    deep8,
		"hf:" + repo + "/" + plain:                plain,
		"hf:" + repo + "@" + commit + "/" + deep8: deep8,
	} {
		l := get(t, f, raw)
		if l.Commit != commit || l.SHA256 != sum(s.content[file]) || l.Size != int64(len(s.content[file])) {
			t.Errorf("%s: commit %s, %d bytes, hash %s", raw, l.Commit, l.Size, l.SHA256)
		}
	}
	r, err := model.Parse("hf:" + repo + ":Q4_K_M")
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.Identify(t.Context(), r)
	if err != nil || id.Commit != commit || len(id.Files) != 1 || id.Files[0].SHA256 != sum(s.content[main4]) {
		t.Errorf("the listing says %+v, %v", id, err)
	}
	// A mirror of the mirror is one too.
	third := &site{store: f.Store, Mirror: &mirror.Mirror{Store: f.Store}}
	third.start(t)
	if l := get(t, third.second(t), "hf:"+repo+":Q4_K_M"); l.Commit != commit {
		t.Errorf("the third machine has commit %s", l.Commit)
	}
}

// A branch that moved on the mirror moves on the second machine.
func TestBranchMoves(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.second(t)
	get(t, f, "hf:"+repo+"/"+main4)
	next := aModel(size, 4)
	s.hub.Add(repo, main4, next)
	get(t, &model.Fetcher{Environment: model.Environment{Endpoint: s.hub.Endpoint()}, Store: s.store}, "hf:"+repo+"/"+main4)
	if l := get(t, f, "hf:"+repo+"/"+main4); l.SHA256 != sum(next) || l.Commit != s.hub.Commit(repo) {
		t.Errorf("it has commit %s, hash %s", l.Commit, l.SHA256)
	}
}

// stopper ends a download when it has some of the bytes, and remembers what was said.
type stopper struct {
	after int64
	stop  func()
	said  []string
}

func (p *stopper) Begin(string, int64) model.Task { return p }
func (p *stopper) Set(done int64) {
	if p.stop != nil && done > p.after {
		p.stop()
	}
}
func (p *stopper) Note(line string) { p.said = append(p.said, line) }
func (p *stopper) End(error)        {}

func TestResume(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const large = "large-Q6_K.gguf"
	s.hub.Add(repo, large, aModel(9<<20, 8))
	get(t, &model.Fetcher{Environment: model.Environment{Endpoint: s.hub.Endpoint()}, Store: s.store}, "hf:"+repo+"/"+large)
	f := s.second(t)
	ctx, stop := context.WithCancel(t.Context())
	f.Progress = &stopper{after: 4 << 20, stop: stop}
	if _, err := fetch(ctx, t, f, "hf:"+repo+"/"+large); fault.ClassOf(err) != fault.Interrupted {
		t.Fatalf("the download was not broken off: %v", err)
	}
	again := &stopper{}
	f.Progress = again
	get(t, f, "hf:"+repo+"/"+large)
	if !strings.Contains(strings.Join(again.said, "\n"), "resuming after") {
		t.Errorf("it was not resumed: %q", again.said)
	}
}

// What is spoilt on the mirror's disk is found by the second machine.
func TestSpoiltIsFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	blob := filepath.Join(s.folder(t).Dir(), "blobs", sum(s.content[main4]))
	spoilt := append([]byte(nil), s.content[main4]...)
	spoilt[5000] ^= 1
	if err := os.WriteFile(blob, spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	f := s.second(t)
	_, err := fetch(t.Context(), t, f, "hf:"+repo+"/"+main4)
	if fault.ClassOf(err) != fault.Model {
		t.Fatalf("it was taken: %v", err)
	}
	if left, err := f.Store.List(); err != nil || len(left) > 0 {
		t.Errorf("the store has %v, %v", left, err)
	}
}

// A spoilt file is withdrawn once somebody asked for it, and one that is cut off before.
func TestSpoiltIsWithdrawn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	withdrew := make(chan string, 2)
	s.Withdrew = func(_, why string) { withdrew <- why }
	blobs := filepath.Join(s.folder(t).Dir(), "blobs")
	spoilt := append([]byte(nil), s.content[main4]...)
	spoilt[5000] ^= 1
	if err := os.WriteFile(filepath.Join(blobs, sum(s.content[main4])), spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	at := "/" + repo + "/resolve/main/"
	if resp, _ := s.ask(t, "GET", at+main4, ""); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	if why := <-withdrew; !strings.Contains(why, "hashes to") {
		t.Error(why)
	}
	if resp, _ := s.ask(t, "GET", at+main4, ""); resp.Header.Get("X-Error-Code") != "EntryNotFound" {
		t.Errorf("it is still served: %s", resp.Status)
	}
	// Repaired, it is offered again.
	fixed := filepath.Join(blobs, sum(s.content[main4]))
	if err := os.Remove(fixed); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fixed, s.content[main4], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(fixed, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if resp, _ := s.ask(t, "GET", at+main4, ""); resp.StatusCode != http.StatusOK {
		t.Errorf("repaired: %s", resp.Status)
	}

	var whole bytes.Buffer
	if err := gguf.WriteTinyLlama(&whole); err != nil {
		t.Fatal(err)
	}
	s.hub.Add(repo, "cut.gguf", whole.Bytes())
	get(t, &model.Fetcher{Environment: model.Environment{Endpoint: s.hub.Endpoint()}, Store: s.store}, "hf:"+repo+"/cut.gguf")
	if resp, _ := s.ask(t, "HEAD", at+"cut.gguf", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("whole: %s", resp.Status)
	}
	if err := os.Truncate(filepath.Join(blobs, sum(whole.Bytes())), int64(whole.Len()-1000)); err != nil {
		t.Fatal(err)
	}
	if resp, _ := s.ask(t, "HEAD", at+"cut.gguf", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("cut off: %s", resp.Status)
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Token = "hf_" + strings.Repeat("x1", 17)
	s.start(t)
	f := s.second(t)
	for name, c := range map[string]struct{ token, says string }{
		"none":  {"", "GatedRepo"},
		"wrong": {s.Token + "x", "Invalid credentials"},
	} {
		f.Environment.Token = c.token
		_, err := fetch(t.Context(), t, f, "hf:"+repo+"/"+main4)
		if fault.ClassOf(err) != fault.Model || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.Environment.Token = s.Token
	get(t, f, "hf:"+repo+"/"+main4)
	for _, field := range []string{"", "Authorization: Basic " + s.Token, "Authorization: Bearer", "Authorization: " + s.Token} {
		fields := []string{field}
		if field == "" {
			fields = nil
		}
		if resp, _ := s.ask(t, "GET", "/api/models", "", fields...); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%q: %s", field, resp.Status)
		}
	}
	if resp, _ := s.ask(t, "GET", "/api/models", "", "Authorization: bearer "+s.Token); resp.StatusCode != http.StatusOK {
		t.Errorf("the right token: %s", resp.Status)
	}
}
