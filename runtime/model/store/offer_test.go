package store

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// What is offered can be read, with symlinks and without.
func TestOffers(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*Store{"symlinks": openTest(t), "copies": withoutSymlinks(t)} {
		d := repo(s, "org/name")
		content := model(5000, "x")
		blob := fetched(t, d, commit1, "sub/m.gguf", content)
		all := d.Offers(t.Context(), commit1)
		if len(all) != 1 || all[0].Path != "sub/m.gguf" || all[0].SHA256 != blob || all[0].Size != int64(len(content)) {
			t.Fatalf("%s: %+v", name, all)
		}
		f, err := d.OpenOffer(all[0])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(f)
		f.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		repos, err := s.Repositories()
		if err != nil || !slices.Equal(repos, []string{"org/name"}) || !slices.Equal(d.Commits(), []string{commit1}) {
			t.Errorf("%s: %q, %v", name, repos, err)
		}
		if got := d.Offers(t.Context(), "latest"); len(got) > 0 {
			t.Errorf("%s: offers of no commit: %+v", name, got)
		}
	}
}
