package model

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
)

func TestListFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 7 {
		r.hub.Add(aRepo, fmt.Sprintf("m-%d.gguf", i), aModel(100+i, uint64(i)))
	}
	r.hub.AddPlain(aRepo, "README.md", []byte("hello"))
	r.hub.PageSize(3)
	r.hub.Break(hub.API, "", hub.Once, hub.Status(http.StatusBadGateway, ""))
	l, err := r.ListFiles(t.Context(), aRepo, "")
	if err != nil || len(l.Files) != 8 || l.Commit != r.hub.Commit(aRepo) {
		t.Fatalf("%+v, %v", l, err)
	}
	if f := l.Files[3]; f.Path != "m-2.gguf" || f.Size != 102 || f.SHA256 != sum(aModel(102, 2)) {
		t.Errorf("%+v", f)
	}
	if f := l.Files[0]; f.Path != "README.md" || f.SHA256 != "" {
		t.Errorf("%+v", f)
	}
	_, err = r.ListFiles(t.Context(), "org/none", "")
	wantFault(t, err, fault.Model, "hf:org/none", "HF_TOKEN")
	_, err = r.ListFiles(t.Context(), "org", "")
	wantFault(t, err, fault.Usage)
	_, err = r.ListFiles(t.Context(), "org/a/b", "")
	wantFault(t, err, fault.Usage)
}

func TestResolvePattern(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	want := aModel(1000, 1)
	for _, n := range []string{"tiny.Q2_K.gguf", "tiny.Q4_K_M.gguf", "tiny.Q4_K_S.gguf", "sub/tiny.Q8_0.gguf"} {
		r.hub.Add(aRepo, n, want)
	}
	for glob, file := range map[string]string{"*Q2_K.gguf": "tiny.Q2_K.gguf", "*q4_k_m*": "tiny.Q4_K_M.gguf", "*Q8_0.gguf": "sub/tiny.Q8_0.gguf"} {
		ref, err := r.ResolvePattern(t.Context(), aRepo, "main", glob)
		if err != nil || ref.File != file || ref.Repo != aRepo || ref.Revision != "main" {
			t.Errorf("%s: %+v, %v", glob, ref, err)
			continue
		}
		r.must(t, ref.Raw, want)
	}
	_, err := r.ResolvePattern(t.Context(), aRepo, "main", "*Q4*")
	wantFault(t, err, fault.Model, "2 files", "tiny.Q4_K_M.gguf, tiny.Q4_K_S.gguf")
	_, err = r.ResolvePattern(t.Context(), aRepo, "main", "tiny.Q4_K_L.gguf")
	wantFault(t, err, fault.Model, "no file", "nearest first: tiny.Q4_K_M.gguf, tiny.Q4_K_S.gguf")
	_, err = r.ResolvePattern(t.Context(), aRepo, "main", "[")
	wantFault(t, err, fault.Usage)
}
