package model

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/caches"
)

var aCommit = strings.Repeat("a1", 20)

// wholeModel is a GGUF without tensors, whose header can be read; equal seeds give equal
// models.
func wholeModel(seed byte) []byte {
	b := []byte("GGUF\x03\x00\x00\x00")
	b = append(b, make([]byte, 8)...)                 // no tensors
	b = append(b, 1, 0, 0, 0, 0, 0, 0, 0)             // one pair
	b = append(b, 20, 0, 0, 0, 0, 0, 0, 0)            // of this key
	b = append(b, "general.architecture"...)          //
	b = append(b, 8, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0) // a string
	b = append(b, "llama"...)
	for range 5000 {
		b = append(b, seed)
	}
	return b
}

func put(t *testing.T, content []byte, parts ...string) string {
	t.Helper()
	p := filepath.Join(parts...)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, p, content)
	return p
}

// hubFolder is a cache of Hugging Face's tools with one model on main, as links or copies.
func hubFolder(t *testing.T, content []byte, file string, links bool) string {
	t.Helper()
	dir := t.TempDir()
	repo := filepath.Join(dir, "models--org--tiny")
	put(t, []byte(aCommit+"\n"), repo, "refs", "main")
	at := filepath.Join(repo, "snapshots", aCommit, filepath.FromSlash(file))
	if !links {
		put(t, content, at)
		return dir
	}
	blob := put(t, content, repo, "blobs", sum(content))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(filepath.Dir(at), blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(rel, at); err != nil {
		t.Fatal(err)
	}
	return dir
}

// theirs is all of a folder, to see that it does not change.
func theirs(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			fmt.Fprintln(&out, p, info.Mode(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Without a network, a model is taken from where another tool has it; with one it is not
// downloaded again. Their files stay as they are.
func TestFromCaches(t *testing.T) {
	t.Parallel()
	want := wholeModel(1)
	const file = "tiny-Q4_K_M.gguf"
	ollama := func(t *testing.T) string {
		dir := t.TempDir()
		put(t, want, dir, "blobs", "sha256-"+sum(want))
		put(t, fmt.Appendf(nil, `{"layers":[{"mediaType":"application/vnd.ollama.image.license","digest":"sha256:%s"},{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:%s","size":%d}]}`, someSum, sum(want), len(want)),
			dir, "manifests", "registry.ollama.ai", "library", "tiny", "3b")
		return dir
	}
	for name, c := range map[string]struct {
		layout caches.Layout
		make   func(t *testing.T) string
		refs   []string
		commit string
	}{
		"links":       {caches.HuggingFace, func(t *testing.T) string { return hubFolder(t, want, file, true) }, []string{"hf:org/tiny:Q4_K_M", "hf:org/tiny", "hf:org/tiny/" + file, "hf:org/tiny@" + aCommit + "/" + file}, aCommit},
		"copies":      {caches.HuggingFace, func(t *testing.T) string { return hubFolder(t, want, file, false) }, []string{"hf:org/tiny:Q4_K_M", "hf:org/tiny/" + file}, aCommit},
		"in a folder": {caches.HuggingFace, func(t *testing.T) string { return hubFolder(t, want, "sub/"+file, true) }, []string{"hf:org/tiny/sub/" + file, "hf:org/tiny:q4_k_m"}, aCommit},
		"llama.cpp's": {caches.LlamaCpp, func(t *testing.T) string { d := t.TempDir(); put(t, want, d, "org_tiny_"+file); return d }, []string{"hf:org/tiny:Q4_K_M", "hf:org/tiny/" + file}, ""},
		"LM Studio's": {caches.LMStudio, func(t *testing.T) string { d := t.TempDir(); put(t, want, d, "org", "tiny", file); return d }, []string{"hf:org/tiny:Q4_K_M", "hf:org/tiny/" + file}, ""},
		"Ollama's":    {caches.Ollama, ollama, []string{"ollama://tiny:3b", "ollama://registry.ollama.ai/library/tiny:3b", "oci://registry.ollama.ai/library/tiny:3b"}, ""},
	} {
		for _, raw := range c.refs {
			t.Run(name+" "+raw, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				dir := c.make(t)
				r.Environment.Caches = []caches.Cache{{Layout: c.layout, Dir: dir}}
				r.Environment.Offline = true
				before := theirs(t, dir)
				l := r.must(t, raw, want)
				if l.Commit != c.commit && c.commit != "" {
					t.Errorf("commit %s", l.Commit)
				}
				// The second time the store has it.
				r.Environment.Caches = nil
				if !strings.HasPrefix(raw, "ollama:") {
					r.must(t, raw, want)
				}
				if after := theirs(t, dir); after != before {
					t.Errorf("their folder changed:\n%s\n%s", before, after)
				}
				if len(r.hub.Requests()) > 0 {
					t.Errorf("requests: %v", r.hub.Requests())
				}
			})
		}
	}
}

// What is not what it is said to be is not taken, and nor is another repository's.
func TestNotFromCaches(t *testing.T) {
	t.Parallel()
	want := wholeModel(1)
	const file = "tiny-Q4_K_M.gguf"
	cut := append([]byte("GGUF\x03\x00\x00\x00"), make([]byte, 12)...)
	for name, c := range map[string]struct {
		layout caches.Layout
		make   func(t *testing.T) string
		raw    string
		said   string
	}{
		"spoilt": {caches.HuggingFace, func(t *testing.T) string {
			d := hubFolder(t, want, file, true)
			put(t, wholeModel(2), d, "models--org--tiny", "blobs", sum(want))
			return d
		}, "hf:org/tiny/" + file, "hashes to"},
		"another revision":   {caches.HuggingFace, func(t *testing.T) string { return hubFolder(t, want, file, true) }, "hf:org/tiny@v2/" + file, ""},
		"another quant":      {caches.HuggingFace, func(t *testing.T) string { return hubFolder(t, want, file, true) }, "hf:org/tiny:Q8_0", ""},
		"another hash asked": {caches.HuggingFace, func(t *testing.T) string { return hubFolder(t, want, file, true) }, "hf:org/tiny/" + file + "#sha256=" + someSum, "hashes to"},
		"cut, without hash":  {caches.LlamaCpp, func(t *testing.T) string { d := t.TempDir(); put(t, cut, d, "org_tiny_"+file); return d }, "hf:org/tiny/" + file, "cannot be used"},
		"another repository's by its URL": {caches.LlamaCpp, func(t *testing.T) string {
			d := t.TempDir()
			put(t, want, d, "org_tiny_"+file)
			put(t, []byte(`{"etag":"x","url":"https://huggingface.co/org_tiny/x/resolve/main/`+file+`"}`), d, "org_tiny_"+file+".json")
			return d
		}, "hf:org/tiny/" + file, ""},
		"a branch of the flat folder": {caches.LlamaCpp, func(t *testing.T) string { d := t.TempDir(); put(t, want, d, "org_tiny_"+file); return d }, "hf:org/tiny@v2/" + file, ""},
		"no model of Ollama's":        {caches.Ollama, func(t *testing.T) string { return t.TempDir() }, "ollama://tiny", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Environment.Caches = []caches.Cache{{Layout: c.layout, Dir: c.make(t)}}
			r.Environment.Offline = true
			_, err := r.fetch(t, c.raw)
			wantFault(t, err, fault.Model)
			if c.said != "" && !r.events.said(c.said) {
				t.Errorf("no note says %q: %q", c.said, r.events.notes)
			}
		})
	}
}

// With the Hub, copies and flat files are taken by their hash.
func TestCachesByHash(t *testing.T) {
	t.Parallel()
	want := aModel(size, 21)
	for name, c := range map[string]struct {
		layout caches.Layout
		make   func(t *testing.T) string
		taken  bool
	}{
		"a snapshot of copies": {caches.HuggingFace, func(t *testing.T) string { return hubFolder(t, want, "m.gguf", false) }, true},
		"llama.cpp's":          {caches.LlamaCpp, func(t *testing.T) string { d := t.TempDir(); put(t, want, d, "org_tiny_m.gguf"); return d }, true},
		"LM Studio's":          {caches.LMStudio, func(t *testing.T) string { d := t.TempDir(); put(t, want, d, "org", "tiny", "m.gguf"); return d }, true},
		"Ollama's":             {caches.Ollama, func(t *testing.T) string { d := t.TempDir(); put(t, want, d, "blobs", "sha256-"+sum(want)); return d }, true},
		"other bytes":          {caches.LlamaCpp, func(t *testing.T) string { d := t.TempDir(); put(t, aModel(size, 22), d, "org_tiny_m.gguf"); return d }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.hub.Add(aRepo, "m.gguf", want)
			r.Environment.Caches = []caches.Cache{{Layout: c.layout, Dir: c.make(t)}}
			if l := r.must(t, aRef, want); l.Commit != r.hub.Commit(aRepo) {
				t.Errorf("commit %s", l.Commit)
			}
			if (r.hub.Sent() == 0) != c.taken {
				t.Errorf("%d bytes were fetched", r.hub.Sent())
			}
		})
	}
}

// A Hub that does not answer is no reason to be without a model that is here.
func TestCachesWhereTheHubIsAway(t *testing.T) {
	t.Parallel()
	want := wholeModel(3)
	r := newRig(t)
	r.Environment.HubCache = hubFolder(t, want, "m.gguf", true)
	r.Environment.Endpoint = "http://127.0.0.1:1"
	r.must(t, aRef, want)
	// A Hub that answers that there is no such file is believed.
	r = newRig(t)
	r.Environment.HubCache = hubFolder(t, want, "m.gguf", true)
	_, err := r.fetch(t, aRef)
	wantFault(t, err, fault.Model)
}

// What Ollama has now is what its name means.
func TestOllamaMoves(t *testing.T) {
	t.Parallel()
	r, dir := newRig(t), t.TempDir()
	r.Environment.Caches = []caches.Cache{{Layout: caches.Ollama, Dir: dir}}
	for seed := byte(4); seed < 6; seed++ {
		want := wholeModel(seed)
		put(t, want, dir, "blobs", "sha256-"+sum(want))
		put(t, fmt.Appendf(nil, `{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:%s"}]}`, sum(want)), dir, "manifests", "registry.ollama.ai", "library", "tiny", "latest")
		for range 2 {
			r.must(t, "ollama://tiny", want)
		}
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	one, two := aModel(size, 31), aModel(size, 32)
	for _, c := range []struct {
		update Update
		want   []byte
		asked  bool
		said   string
	}{
		{UpdateAlways, two, true, ""},
		{UpdateCheck, one, true, "something newer"},
		{UpdateNever, one, false, "not asked"},
	} {
		for _, raw := range []string{aRef, "hf:org/tiny", ""} {
			r := newRig(t)
			r.hub.Add(aRepo, "m.gguf", one)
			if raw == "" {
				raw = r.hub.Serve("m.gguf", `"v1"`, one)
			}
			r.Environment.Update = c.update
			r.must(t, raw, one) // what is not here is fetched
			asked := len(r.hub.Requests())
			r.hub.Add(aRepo, "m.gguf", two)
			r.hub.Serve("m.gguf", `"v2"`, two)
			r.must(t, raw, c.want)
			if (len(r.hub.Requests()) > asked) != c.asked {
				t.Errorf("%s %s: %d requests", c.update, raw, len(r.hub.Requests())-asked)
			}
			if c.said != "" && !r.events.said(c.said) {
				t.Errorf("%s %s: no note says %q: %q", c.update, raw, c.said, r.events.notes)
			}
		}
	}
	// The same content under another commit is nothing newer.
	r := newRig(t)
	r.hub.Add(aRepo, "m.gguf", one)
	r.must(t, aRef, one)
	r.hub.Add(aRepo, "README.md", []byte("text"))
	r.Environment.Update = UpdateCheck
	r.must(t, aRef, one)
	if r.events.said("something newer") {
		t.Errorf("notes: %q", r.events.notes)
	}
	if _, err := ParseUpdate("sometimes"); fault.ClassOf(err) != fault.Usage {
		t.Errorf("sometimes: %v", err)
	}
}
