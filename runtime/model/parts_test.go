package model

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

// A file that is named as a part of a model and is a whole one is fetched alone, wherever
// it is from.
func TestFetchMerged(t *testing.T) {
	t.Parallel()
	const name = "m-Q4_K_M-00001-of-00003.gguf"
	want := aGGUF(t, named("merged"))
	r := newRig(t)
	r.hub.Add(aRepo, name, want)
	for _, raw := range []string{"hf:org/tiny/" + name, "hf:org/tiny:Q4_K_M", "hf:org/tiny@" + r.hub.Commit(aRepo) + "/" + name} {
		if l := r.must(t, raw, want); l.Shards != 1 {
			t.Errorf("%s is in %d files", raw, l.Shards)
		}
	}
	// Pinned and here, it costs no request.
	asked := len(r.hub.Requests())
	l := r.must(t, "hf:org/tiny@"+r.hub.Commit(aRepo)+"/"+name, want)
	if now := len(r.hub.Requests()); now != asked {
		t.Errorf("%d requests for a model that is here", now-asked)
	}
	if id, err := r.IdentityOf(t.Context(), l); err != nil || len(id.Files) != 1 || id.Files[0].SHA256 != sum(want) {
		t.Errorf("its identity is %+v, %v", id, err)
	}
	if all, err := r.Store.List(); err != nil || len(all) != 1 || len(all[0].Files) != 1 {
		t.Errorf("the list is %+v, %v", all, err)
	}
	web := r.hub.Serve("/dir/"+name, `"v1"`, want)
	if l := r.must(t, web, want); l.Shards != 1 {
		t.Errorf("by its URL it is in %d files", l.Shards)
	}
	own := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(own, want, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := r.fetch(t, own); err != nil || l.Shards != 1 {
		t.Errorf("as an own file: %+v, %v", l, err)
	}
}

// A part of a model whose other parts are nowhere is refused.
func TestFetchPartAlone(t *testing.T) {
	t.Parallel()
	const name = "m-Q4_K_M-00001-of-00003.gguf"
	part := aPart(t, 0, 3)
	r := newRig(t)
	r.hub.Add(aRepo, name, part)
	_, err := r.fetch(t, "hf:org/tiny:Q4_K_M")
	wantFault(t, err, fault.Model, "in 3 files", "00002-of-00003.gguf")
	_, err = r.fetch(t, r.hub.Serve("/dir/"+name, `"v1"`, part))
	wantFault(t, err, fault.Model, "several")
}

// The choice among files whose names leave a doubt is by their headers.
func TestFetchByHeader(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	drafts, model := aGGUF(t, named("drafts")), aGGUF(t, named("model"))
	r.hub.Add(aRepo, "MTP/m-Q6_K-MTP.gguf", drafts)
	r.hub.Add(aRepo, "m-mtp-Q6_K.gguf", model)
	r.must(t, "hf:org/tiny:Q6_K", model)
	if sent := r.hub.Sent(); sent > 3*int64(len(model)) {
		t.Errorf("%d bytes were sent for a model of %d", sent, len(model))
	}
	r.must(t, "hf:org/tiny", model)
}
