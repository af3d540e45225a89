package caches

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/runtime/model/ref"
)

var (
	commit = strings.Repeat("a1", 20)
	hash   = strings.Repeat("cd", 32)
)

func put(t *testing.T, content string, parts ...string) {
	t.Helper()
	p := filepath.Join(parts...)
	if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, raw string) ref.Ref {
	t.Helper()
	r, err := ref.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The listing that huggingface_hub keeps gives the hashes of copies.
func TestListedHashes(t *testing.T) {
	t.Parallel()
	c := Cache{HuggingFace, t.TempDir()}
	repo := filepath.Join(c.Dir, "models--o--r")
	put(t, commit, repo, "refs", "main")
	put(t, "x", repo, "snapshots", commit, "m.gguf")
	for listing, want := range map[string]string{
		fmt.Sprintf(`{"format_version": 1, "files": {"m.gguf": {"size": 1, "blob_id": "b", "lfs_sha256": %q}}}`, hash): hash,
		fmt.Sprintf(`{"format_version": 2, "files": {"m.gguf": {"lfs_sha256": %q}}}`, hash):                            "",
		`{"format_version": 1, "files": {"m.gguf": {"lfs_sha256": "../../x"}}}`:                                        "",
		`{`: "",
	} {
		put(t, listing, repo, "trees", commit+".json")
		s, ok := c.Snapshot(parse(t, "hf:o/r"))
		if !ok || s.Commit != commit || len(s.Files) != 1 || s.Files[0].SHA256 != want {
			t.Errorf("%s: %+v, %v", listing, s, ok)
		}
	}
}

// llama.cpp's manifests and metadata say what its flat names do not: folders, and which
// repository it is.
func TestFlatNames(t *testing.T) {
	t.Parallel()
	c := Cache{LlamaCpp, t.TempDir()}
	for _, file := range []string{"o_r_Q4_m.gguf", "o_r_sub_n.gguf", "o_r_b_other.gguf", "o_r_plain.gguf", "o_r_x.gguf.downloadInProgress", "p_r_m.gguf"} {
		put(t, "x", c.Dir, file)
	}
	put(t, fmt.Sprintf(`{"ggufFile":{"rfilename":"Q4/m.gguf","size":1,"lfs":{"sha256":%q}}}`, hash), c.Dir, "manifest=o=r=Q4_K_M.json")
	put(t, `{"url":"https://hub.example/prefix/o/r/resolve/main/sub/n.gguf","etag":"e"}`, c.Dir, "o_r_sub_n.gguf.json")
	put(t, `{"url":"https://huggingface.co/o/r_b/resolve/main/other.gguf"}`, c.Dir, "o_r_b_other.gguf.json")
	s, ok := c.Snapshot(parse(t, "hf:o/r"))
	names := s.Names()
	slices.Sort(names)
	if want := []string{"Q4/m.gguf", "plain.gguf", "sub/n.gguf"}; !ok || s.Commit != "" || !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if at, ok := s.Find([]string{"Q4/m.gguf"}); !ok || at[0].SHA256 != hash {
		t.Errorf("%+v", at)
	}
	if got := c.Candidates(Wanted{Repo: "o/r", Name: "sub/n.gguf", Size: 1}); len(got) != 1 {
		t.Errorf("candidates: %q", got)
	}
}

// Nothing from outside leads out of a cache's folder.
func TestStaysInside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, "../../../../../"+commit, dir, "models--o--r", "refs", "main")
	put(t, `{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:../../secret"}]}`, dir, "manifests", "registry.ollama.ai", "library", "m", "latest")
	put(t, "x", dir, "secret")
	for _, c := range []struct {
		layout Layout
		raw    string
	}{{HuggingFace, "hf:o/r"}, {Ollama, "ollama://m"}} {
		if s, ok := (Cache{c.layout, dir}).Snapshot(parse(t, c.raw)); ok {
			t.Errorf("%s: %+v", c.raw, s)
		}
	}
}

// The same file under two names is one candidate, and one of another size is none.
func TestCandidates(t *testing.T) {
	t.Parallel()
	c := Cache{HuggingFace, t.TempDir()}
	repo := filepath.Join(c.Dir, "models--o--r")
	put(t, "abc", repo, "blobs", hash)
	put(t, "ab", repo, "snapshots", strings.Repeat("b", 40), "m.gguf")
	if err := os.MkdirAll(filepath.Join(repo, "snapshots", commit), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("..", "..", "blobs", hash), filepath.Join(repo, "snapshots", commit, "m.gguf")); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int64]int{3: 1, 2: 1, -1: 2, 7: 0} {
		if got := c.Candidates(Wanted{Repo: "o/r", Name: "m.gguf", Hash: hash, Size: size}); len(got) != want {
			t.Errorf("size %d: %q", size, got)
		}
	}
}
