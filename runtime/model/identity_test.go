package model

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
)

// The Hub's listing has the hashes of large files, so that a model is identified
// without a byte of it.
func TestIdentifyByListing(t *testing.T) {
	t.Parallel()
	for ref, file := range map[string]string{
		aRef:                                     "m.gguf",
		aRef + "#sha256=" + sum(aModel(size, 1)): "m.gguf",
		"hf:org/tiny":                            "m.gguf",
	} {
		r, want := newRig(t), aModel(size, 1)
		r.hub.Add(aRepo, "m.gguf", want)
		id, err := r.Identify(t.Context(), parse(t, ref))
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		if diff := cmp.Diff(Identity{r.hub.Commit(aRepo), []FileIdentity{{file, size, sum(want)}}}, id); diff != "" {
			t.Errorf("%s: %s", ref, diff)
		}
		if n := r.hub.Sent(); n >= size {
			t.Errorf("%s: %d bytes were sent", ref, n)
		}
		pinned := "hf:org/tiny@" + id.Commit + "/m.gguf#sha256=" + sum(want)
		if got := parse(t, ref).Pinned(id); got != pinned {
			t.Errorf("%s is pinned as %s, want %s", ref, got, pinned)
		}
		// The branch moves, and the pinned ref does not.
		r.hub.Add(aRepo, "m.gguf", aModel(size, 2))
		r.must(t, pinned, want)
	}
}

// All files of a model belong to its identity, and what is here of it has the same one.
func TestIdentifySharded(t *testing.T) {
	t.Parallel()
	r, parts := shardedRig(t, shard1, shard2, shard3)
	ref := parse(t, "hf:org/tiny:q4_k_m")
	want := Identity{Commit: r.hub.Commit(aRepo)}
	for _, name := range []string{shard1, shard2, shard3} {
		want.Files = append(want.Files, FileIdentity{name, size, sum(parts[name])})
	}
	id, err := r.Identify(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, id); diff != "" {
		t.Error(diff)
	}
	if got, want := ref.Pinned(id), "hf:org/tiny@"+id.Commit+"/"+shard1; got != want {
		t.Errorf("pinned as %s, want %s", got, want)
	}
	l, err := r.fetch(t, ref.Pinned(id))
	if err != nil {
		t.Fatal(err)
	}
	if id, err = r.IdentityOf(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, id); diff != "" {
		t.Errorf("what is here (-listed +here):\n%s", diff)
	}
}

// What nobody else has the hash of is fetched and read.
func TestIdentifyByContent(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 1)
	r.hub.AddPlain(aRepo, "m.gguf", want)
	own := filepath.Join(t.TempDir(), "own.gguf")
	if err := os.WriteFile(own, want, 0o600); err != nil {
		t.Fatal(err)
	}
	web := r.hub.Serve("/dir/w.gguf", "", want)
	for ref, id := range map[string]Identity{
		aRef: {r.hub.Commit(aRepo), []FileIdentity{{"m.gguf", size, sum(want)}}},
		own:  {"", []FileIdentity{{"own.gguf", size, sum(want)}}},
		web:  {"", []FileIdentity{{"w.gguf", size, sum(want)}}},
	} {
		got, err := r.Identify(t.Context(), parse(t, ref))
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		if diff := cmp.Diff(id, got); diff != "" {
			t.Errorf("%s: %s", ref, diff)
		}
		l, err := r.fetch(t, parse(t, ref).Pinned(got))
		if err != nil || l.SHA256 != sum(want) {
			t.Errorf("%s: pinned, it is %s: %v", ref, l.SHA256, err)
		}
	}
	// It is another file now.
	pinned := parse(t, own).Pinned(Identity{Files: []FileIdentity{{"own.gguf", size, sum(want)}}})
	if err := os.WriteFile(own, aModel(size, 2), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := r.fetch(t, pinned)
	wantFault(t, err, fault.Model, "SHA-256", sum(want))
}

func TestIdentifyRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hub.Add(aRepo, "m.gguf", aModel(size, 1))
	_, err := r.Identify(t.Context(), parse(t, aRef+"#sha256="+someSum))
	wantFault(t, err, fault.Model, someSum, sum(aModel(size, 1)))
	_, err = r.Identify(t.Context(), parse(t, "hf:org/tiny:Q2_K"))
	wantFault(t, err, fault.Model, "Q2_K")
	_, err = r.Identify(t.Context(), parse(t, "hf:org/none/m.gguf"))
	wantFault(t, err, fault.Model, "org/none")
}
