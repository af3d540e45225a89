package model

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
)

const (
	shard1 = "Q4_K_M/m-Q4_K_M-00001-of-00003.gguf"
	shard2 = "Q4_K_M/m-Q4_K_M-00002-of-00003.gguf"
	shard3 = "Q4_K_M/m-Q4_K_M-00003-of-00003.gguf"
)

// shardedRig is a hub with a model in three files, or in some of them, beside one in one.
func shardedRig(t *testing.T, names ...string) (r *rig, parts map[string][]byte) {
	t.Helper()
	r, parts = newRig(t), map[string][]byte{}
	for i, name := range names {
		parts[name] = aModel(size, uint64(50+i)) //nolint:gosec // small
		r.hub.Add(aRepo, name, parts[name])
	}
	r.hub.Add(aRepo, "m-Q8_0.gguf", aModel(size, 70))
	r.hub.Add(aRepo, "mmproj-F16.gguf", aModel(size, 71))
	return r, parts
}

// All files of a model are one model, whichever of them, or what quantisation, it is asked for by.
func TestFetchSharded(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"hf:org/tiny/" + shard1, "hf:org/tiny/" + shard2, "hf:org/tiny:q4_k_m", "hf:org/tiny"} {
		t.Run(ref, func(t *testing.T) {
			t.Parallel()
			r, parts := shardedRig(t, shard1, shard2, shard3)
			l, err := r.fetch(t, ref)
			if err != nil {
				t.Fatal(err)
			}
			if l.Shards != 3 || l.Size != 3*size || filepath.Base(l.Path) != filepath.Base(shard1) {
				t.Errorf("got %+v", l)
			}
			for name, want := range parts {
				got, err := os.ReadFile(filepath.Join(filepath.Dir(l.Path), filepath.Base(name)))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not what the hub has: %v", name, err)
				}
			}
			// Again, pinned: no request.
			sent, asked := r.hub.Sent(), len(r.hub.Requests())
			if _, err := r.fetch(t, "hf:org/tiny:Q4_K_M@"+r.hub.Commit(aRepo)); err != nil {
				t.Fatal(err)
			}
			if r.hub.Sent() != sent || len(r.hub.Requests()) != asked {
				t.Errorf("a model that is present and pinned cost %d bytes and %d requests", r.hub.Sent()-sent, len(r.hub.Requests())-asked)
			}
		})
	}
}

// A model that lacks a part, or that the disk has no room for, is refused before a
// byte of it is fetched.
func TestFetchShardedRefused(t *testing.T) {
	t.Parallel()
	r, _ := shardedRig(t, shard1, shard2)
	_, err := r.fetch(t, "hf:org/tiny:Q4_K_M")
	wantFault(t, err, fault.Model, "m-Q4_K_M-00003-of-00003.gguf")
	r2, _ := shardedRig(t, shard1, shard2, shard3)
	r2.free = func(string) (int64, error) { return 2 * size, nil }
	_, err = r2.fetch(t, "hf:org/tiny:Q4_K_M")
	wantFault(t, err, fault.Model, "9MiB")
	r3, _ := shardedRig(t, shard1, shard2, shard3)
	_, err = r3.fetch(t, "hf:org/tiny/"+shard1+"#sha256="+someSum)
	wantFault(t, err, fault.Model, "several", "leave the #sha256 out")
	for name, r := range map[string]*rig{"a missing part": r, "no room": r2, "a hash": r3} {
		if r.hub.Sent() > 0 {
			t.Errorf("%s: %d bytes were fetched", name, r.hub.Sent())
		}
		if left := tree(t, r.Store.Dir()); len(left) > 0 {
			t.Errorf("%s left %q", name, left)
		}
	}
}

func TestFetchByQuant(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	q4, q8 := aModel(size, 80), aModel(size, 81)
	r.hub.Add(aRepo, "m-Q8_0.gguf", q8)
	r.hub.Add(aRepo, "m-UD-Q4_K_XL.gguf", q4)
	r.hub.PageSize(1)
	r.must(t, "hf:org/tiny:ud-q4_k_xl", q4)
	r.must(t, "hf:org/tiny", q8)
	if !r.events.said("using Q8_0: m-Q8_0.gguf") {
		t.Errorf("the choice was not said: %q", r.events.notes)
	}
	_, err := r.fetch(t, "hf:org/tiny:Q6_K")
	wantFault(t, err, fault.Model, "no model quantised as Q6_K", "nearest first: Q8_0")

	// Offline, what is here decides.
	off := r.again()
	off.Environment.Offline = true
	off.must(t, "hf:org/tiny:Q8_0", q8)
	_, err = off.fetch(t, "hf:org/tiny:Q6_K")
	wantFault(t, err, fault.Model, "HF_HUB_OFFLINE")
	// So it does where the Hub does not answer.
	r.hub.Break(hub.API, "", hub.Always, hub.Drop())
	r.hub.Break(hub.Resolve, "", hub.Always, hub.Drop())
	r.must(t, "hf:org/tiny:Q8_0", q8)
}

func TestOwnSharded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &Fetcher{}
	for _, name := range []string{shard1, shard2} {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), aModel(4096, 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	second := filepath.Join(dir, filepath.Base(shard2))
	_, err := f.Fetch(t.Context(), parse(t, second))
	wantFault(t, err, fault.Model, "00003-of-00003.gguf is missing beside it")
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(shard3)), aModel(4096, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := f.Fetch(t.Context(), parse(t, second))
	if err != nil || l.Shards != 3 || l.Size != 3*4096 || !strings.HasSuffix(l.Path, "00001-of-00003.gguf") {
		t.Errorf("got %+v, %v", l, err)
	}
}
