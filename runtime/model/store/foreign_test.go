package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

var (
	commit1 = strings.Repeat("1", 40)
	commit2 = strings.Repeat("2", 40)
)

func openTest(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func repo(s *Store, name string) Folder { return s.Folder(ref.Ref{Kind: ref.Hub, Repo: name}) }

// fetched stores content as a fetch of this program does, and returns the blob.
func fetched(t *testing.T, d Folder, commit, file string, content []byte) string {
	t.Helper()
	sum := sha256.Sum256(content)
	blob := hex.EncodeToString(sum[:])
	if !d.Has(blob, -1) {
		f, err := d.OpenFile(d.Blob(blob))
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(content)
		if err := errors.Join(err, f.Close(), d.Own(blob)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Link(commit, file, blob); err != nil {
		t.Fatal(err)
	}
	return blob
}

// byAnother stores content as another tool does, with a link or, where it has no blob, as
// a file.
func byAnother(t *testing.T, d Folder, commit, file, blob string, content []byte) {
	t.Helper()
	p := d.File(commit, file)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.MkdirAll(d.path("blobs"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if blob == "" {
		if err := os.WriteFile(p, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := errors.Join(os.WriteFile(d.Blob(blob), content, 0o600), os.Symlink("../../blobs/"+blob, p)); err != nil {
		t.Fatal(err)
	}
}

// model is a whole GGUF of n bytes and more; another salt makes another one.
func model(n int, salt string) []byte {
	return append(append(gguf.Minimal(), bytes.Repeat([]byte{7}, n)...), salt...)
}

func everything(t *testing.T, dir string) []string {
	t.Helper()
	return (Folder{&Store{dir: dir}, ""}).names()
}

// A cache that all tools share: a collection that is to keep nothing leaves what others
// put there, and removes what we did.
func TestCollectLeavesOtherToolsFiles(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	now := time.Now()
	bert, theirs, shared := repo(s, "bert/base"), repo(s, "org/theirs"), repo(s, "org/shared")
	byAnother(t, bert, commit1, "model.safetensors", "w", make([]byte, 5000))
	byAnother(t, bert, commit1, "config.json", "c", []byte("{}"))
	byAnother(t, theirs, commit1, "m-Q4_K_M.gguf", "q4", model(5000, "theirs"))
	byAnother(t, theirs, commit1, "copied-Q8_0.gguf", "", model(5000, "copied"))
	byAnother(t, shared, commit1, "a-Q4_K_M.gguf", "aa", model(5000, "a"))
	// A download that another tool broke off long ago.
	if err := os.WriteFile(theirs.Incomplete("bb"), make([]byte, 3000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(theirs.Incomplete("bb"), now, now.Add(-30*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	before := everything(t, s.dir)
	// We use one of theirs, show another one's content in a commit of our own, and have
	// one that is ours alone.
	theirs.Use(commit1, "m-Q4_K_M.gguf", "hf:org/theirs", "/p", now.Add(-time.Hour))
	if err := shared.Link(commit2, "a-Q4_K_M.gguf", "aa"); err != nil {
		t.Fatal(err)
	}
	mine := fetched(t, shared, commit2, "b-Q8_0.gguf", model(9000, "mine"))

	models, partials, err := s.Collect(0, func(string) bool { return false }, now)
	if err != nil || len(partials) != 0 {
		t.Fatal(partials, err)
	}
	for _, m := range models {
		if m.Foreign {
			t.Errorf("%s is not ours", m.Path)
		}
		if _, err := s.Remove(m.Stored); err != nil {
			t.Error(err)
		}
	}
	if exists(shared.Blob(mine)) {
		t.Error("what is ours is still there")
	}
	theirs.changeUses(func(all map[string]use) { clear(all) })
	after := everything(t, s.dir)
	// The link that shows their content frees nothing, so it need not go.
	after = slices.DeleteFunc(after, func(p string) bool { return strings.Contains(p, commit2) || strings.HasSuffix(p, recordFile) })
	if !slices.Equal(before, after) {
		t.Errorf("before %q, after %q", before, after)
	}
}

// What others put there is listed where it is a model, and said to be theirs.
func TestListTellsWhoseAModelIs(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	d := repo(s, "org/name")
	byAnother(t, d, commit1, "config.json", "c", []byte("{}"))
	byAnother(t, d, commit1, "theirs.gguf", "t", model(100, "t"))
	fetched(t, d, commit1, "ours.gguf", model(100, "o"))
	all, err := s.List()
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, m := range all {
		if want := strings.HasSuffix(m.Path, "theirs.gguf"); m.Foreign != want {
			t.Errorf("%s: foreign %v", m.Path, m.Foreign)
		}
	}
}

// Two snapshots of one content take its space once, and one of them alone is not removed
// for nothing.
func TestCollectCountsContentOnce(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	now := time.Now()
	d, e := repo(s, "org/two-commits"), repo(s, "org/other")
	content := model(10000, "x")
	size := int64(len(content))
	fetched(t, d, commit1, "m.gguf", content)
	fetched(t, d, commit2, "m.gguf", content)
	fetched(t, e, commit1, "n.gguf", model(10000, "y"))
	d.Use(commit1, "m.gguf", "", "", now.Add(-9*time.Hour))
	e.Use(commit1, "n.gguf", "", "", now.Add(-8*time.Hour))
	d.Use(commit2, "m.gguf", "", "", now.Add(-7*time.Hour))
	nobody := func(string) bool { return false }
	for _, c := range []struct {
		keep int64
		busy func(string) bool
		want []string
		free []int64
	}{
		{2 * size, nobody, nil, nil},
		// The oldest one shares its content with the youngest: only the other frees space.
		{2*size - 1, nobody, []string{e.File(commit1, "n.gguf")}, []int64{size}},
		{size - 1, nobody, []string{d.File(commit1, "m.gguf"), e.File(commit1, "n.gguf"), d.File(commit2, "m.gguf")}, []int64{0, size, size}},
		// One of the two is served.
		{0, func(p string) bool { return p == d.File(commit2, "m.gguf") }, []string{e.File(commit1, "n.gguf")}, []int64{size}},
	} {
		models, _, err := s.Collect(c.keep, c.busy, now)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		var free []int64
		for _, m := range models {
			got = append(got, m.Path)
			free = append(free, m.Frees)
		}
		if !slices.Equal(got, c.want) || !slices.Equal(free, c.free) {
			t.Errorf("keep %d: %q free %d, want %q free %d", c.keep, got, free, c.want, c.free)
		}
	}
}

// The space of a file with another name elsewhere, such as in Hugging Face's cache, stays
// taken, and the other name stays.
func TestRemoveOfAHardLink(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	d := repo(s, "org/name")
	theirs := filepath.Join(t.TempDir(), "theirs")
	content := model(4000, "x")
	if err := os.WriteFile(theirs, content, 0o644); err != nil { //nolint:gosec // others may read it
		t.Fatal(err)
	}
	blob := fetched(t, d, commit1, "m.gguf", content)
	if err := errors.Join(os.Remove(d.Blob(blob)), os.Link(theirs, d.Blob(blob))); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	models, _, err := s.Collect(0, func(string) bool { return false }, time.Now())
	if err != nil || len(models) != 1 || models[0].Frees != 0 {
		t.Fatalf("%+v, %v", models, err)
	}
	if freed, err := s.Remove(models[0].Stored); err != nil || freed != 0 {
		t.Errorf("freed %d, %v", freed, err)
	}
	if got, err := os.ReadFile(theirs); err != nil || !bytes.Equal(got, content) {
		t.Errorf("their file: %d bytes, %v", len(got), err)
	}
}

// What a killed download leaves is known and goes: a partial file with its marks, and a
// whole blob that nothing shows.
func TestLeftoversOfAKilledDownload(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	d := repo(s, "org/name")
	now := time.Now()
	for _, p := range []string{d.Incomplete("part"), d.Incomplete("part") + pieces, d.Blob("whole")} {
		f, err := d.OpenFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(2000), f.Close(), os.Chtimes(p, now, now.Add(-8*24*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Own("whole"); err != nil {
		t.Fatal(err)
	}
	nobody := func(string) bool { return false }
	if _, fresh, err := s.Collect(1<<40, nobody, now); err != nil || len(fresh) != 1 {
		t.Errorf("a blob that came just now may still be shown: %+v, %v", fresh, err)
	}
	_, partials, err := s.Collect(1<<40, nobody, now.Add(25*time.Hour))
	if err != nil || len(partials) != 2 {
		t.Fatalf("%+v, %v", partials, err)
	}
	// Somebody goes on with it.
	release, err := d.Lock(t.Context(), "part", func() {})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range partials {
		if _, err := s.RemovePartial(p); errors.Is(err, ErrInUse) != (p.blob == "part") {
			t.Errorf("%s: %v", p.Path, err)
		}
	}
	release()
	for _, p := range partials {
		if _, err := s.RemovePartial(p); err != nil {
			t.Error(err)
		}
	}
	if exists(s.dir) {
		t.Errorf("left behind: %q", everything(t, s.dir))
	}
}
