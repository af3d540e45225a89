package model

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// tinyModel is a model whose header can be read.
func tinyModel(t testing.TB) []byte {
	t.Helper()
	var b strings.Builder
	if err := gguf.WriteTinyLlama(&b); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

func refs(all []store.Stored) []string {
	var out []string
	for _, m := range all {
		out = append(out, m.Ref)
	}
	return out
}

func list(t *testing.T, r *rig) []store.Stored {
	t.Helper()
	all, err := r.Store.List()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInventory(t *testing.T) {
	t.Parallel()
	r, _ := shardedRig(t, shard1, shard2, shard3)
	if all := list(t, r); len(all) != 0 {
		t.Errorf("a store that is not there has %q", refs(all))
	}
	tiny := tinyModel(t)
	r.hub.Add("other/tiny", "tiny.gguf", tiny)
	web := r.hub.Serve("web.gguf", `"v1"`, aModel(size, 9))
	r.By = "/home/me/project"
	r.must(t, "hf:other/tiny/tiny.gguf", tiny)
	for _, ref := range []string{"hf:org/tiny:Q4_K_M", web + "?signature=secret"} {
		if _, err := r.fetch(t, ref); err != nil {
			t.Fatal(err)
		}
	}
	commit := r.hub.Commit(aRepo)
	all := list(t, r)
	want := []string{"hf:org/tiny@" + commit + "/" + shard1, "hf:other/tiny@" + r.hub.Commit("other/tiny") + "/tiny.gguf", web}
	got := refs(all)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for _, m := range all {
		if m.Used.IsZero() || time.Since(m.Used) > time.Minute || !slices.Equal(m.By, []string{"/home/me/project"}) {
			t.Errorf("%s: used %v by %q", m.Ref, m.Used, m.By)
		}
		switch {
		case strings.Contains(m.Ref, "other/tiny"):
			if m.Info.Architecture != "llama" || m.Info.ContextLength == 0 || m.Size != int64(len(tiny)) {
				t.Errorf("%+v", m.Info)
			}
		case strings.Contains(m.Ref, shard1):
			if m.Size != 3*size || len(m.Files) != 3 {
				t.Errorf("%d bytes in %q", m.Size, m.Files)
			}
		}
	}

	for word, n := range map[string]int{
		"hf:org/tiny": 1, "hf:org/tiny:q4_k_m": 1, "hf:org/tiny:Q8_0": 0, "hf:org/tiny/" + shard2: 1, "hf:org/tiny@" + commit: 1,
		"org/tiny": 1, "tiny.gguf": 1, "nothing": 0, web: 1, web + "?signature=other": 1, all[0].Path: 1, "hf:org/tiny@v2": 0,
	} {
		found, err := r.Store.Find(word)
		if err != nil || len(found) != n {
			t.Errorf("%s means %q, %v, want %d", word, refs(found), err, n)
		}
	}
}

func TestVerifyAndRemove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, two := aModel(size, 31), aModel(size, 32)
	r.hub.Add(aRepo, "m.gguf", one)
	r.hub.AddPlain(aRepo, "small.gguf", two)
	r.must(t, aRef, one)
	r.must(t, "hf:org/tiny/small.gguf", two)
	// Another commit with the same big file: its blob is shared.
	r.hub.AddPlain(aRepo, "README.md", []byte("changed"))
	r.must(t, aRef, one)
	for _, m := range list(t, r) {
		if wrong, err := r.Verify(t.Context(), m); err != nil || len(wrong) > 0 {
			t.Errorf("%s: %q, %v", m.Ref, wrong, err)
		}
	}
	found, err := r.Store.Find("small.gguf")
	if err != nil || len(found) != 1 {
		t.Fatal(refs(found), err)
	}
	blob, err := filepath.EvalSymlinks(found[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := slices.Clone(two)
	spoilt[len(spoilt)-1] ^= 1
	if err := os.WriteFile(blob, spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	if wrong, err := r.Verify(t.Context(), found[0]); err != nil || len(wrong) != 1 || !strings.Contains(wrong[0], "small.gguf hashes to") {
		t.Errorf("a spoilt file: %q, %v", wrong, err)
	}

	shared, err := r.Store.Find("m.gguf")
	if err != nil || len(shared) != 2 {
		t.Fatal(refs(shared), err)
	}
	if freed, err := r.Store.Remove(shared[0]); err != nil || freed != 0 {
		t.Errorf("a file that another commit shows: freed %d, %v", freed, err)
	}
	r.must(t, shared[1].Ref, one)
	if freed, err := r.Store.Remove(shared[1]); err != nil || freed != size {
		t.Errorf("the last one: freed %d, %v", freed, err)
	}
	if _, err := r.Store.Remove(found[0]); err != nil {
		t.Error(err)
	}
	if left := tree(t, r.Store.Dir()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
