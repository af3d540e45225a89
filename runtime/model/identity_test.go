package model

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// The Hub's listing has the hashes of large files, so that a model is identified
// without a byte of it.
func TestIdentifyByListing(t *testing.T) {
	t.Parallel()
	for asked, file := range map[string]string{
		aRef:                                     "m.gguf",
		aRef + "#sha256=" + sum(aModel(size, 1)): "m.gguf",
		"hf:org/tiny":                            "m.gguf",
	} {
		r, want := newRig(t), aModel(size, 1)
		r.hub.Add(aRepo, "m.gguf", want)
		id, err := r.Identify(t.Context(), parse(t, asked))
		if err != nil {
			t.Fatalf("%s: %v", asked, err)
		}
		if diff := cmp.Diff(Identity{Commit: r.hub.Commit(aRepo), Files: []ref.FileIdentity{{Path: file, Size: size, SHA256: sum(want)}}}, id); diff != "" {
			t.Errorf("%s: %s", asked, diff)
		}
		if n := r.hub.Sent(); n >= size {
			t.Errorf("%s: %d bytes were sent", asked, n)
		}
		pinned := "hf:org/tiny@" + id.Commit + "/m.gguf#sha256=" + sum(want)
		if got := parse(t, asked).Pinned(id); got != pinned {
			t.Errorf("%s is pinned as %s, want %s", asked, got, pinned)
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
	asked := parse(t, "hf:org/tiny:q4_k_m")
	want := Identity{Commit: r.hub.Commit(aRepo)}
	for _, name := range []string{shard1, shard2, shard3} {
		want.Files = append(want.Files, ref.FileIdentity{Path: name, Size: size, SHA256: sum(parts[name])})
	}
	id, err := r.Identify(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, id); diff != "" {
		t.Error(diff)
	}
	if got, want := asked.Pinned(id), "hf:org/tiny@"+id.Commit+"/"+shard1; got != want {
		t.Errorf("pinned as %s, want %s", got, want)
	}
	l, err := r.fetch(t, asked.Pinned(id))
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
	for asked, id := range map[string]Identity{
		aRef: {Commit: r.hub.Commit(aRepo), Files: []ref.FileIdentity{{Path: "m.gguf", Size: size, SHA256: sum(want)}}},
		own:  {Commit: "", Files: []ref.FileIdentity{{Path: "own.gguf", Size: size, SHA256: sum(want)}}},
		web:  {Commit: "", Files: []ref.FileIdentity{{Path: "w.gguf", Size: size, SHA256: sum(want)}}},
	} {
		got, err := r.Identify(t.Context(), parse(t, asked))
		if err != nil {
			t.Fatalf("%s: %v", asked, err)
		}
		if diff := cmp.Diff(id, got); diff != "" {
			t.Errorf("%s: %s", asked, diff)
		}
		l, err := r.fetch(t, parse(t, asked).Pinned(got))
		if err != nil || l.SHA256 != sum(want) {
			t.Errorf("%s: pinned, it is %s: %v", asked, l.SHA256, err)
		}
	}
	// It is another file now.
	pinned := parse(t, own).Pinned(Identity{Files: []ref.FileIdentity{{Path: "own.gguf", Size: size, SHA256: sum(want)}}})
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
