package buildkit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

func hexOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// keptFile is a file of a text; its name on this machine says nothing.
func keptFile(t *testing.T, text string) KeptFile {
	t.Helper()
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, []byte(text), 0o400); err != nil {
		t.Fatal(err)
	}
	return KeptFile{file, hexOf(text)}
}

// A set is sent whole, under its files' own names, or not at all.
func TestKeptPackagesAreSentBySet(t *testing.T) {
	t.Parallel()
	a, b := keptFile(t, "A"), keptFile(t, "B")
	pkg := func(name string, f KeptFile) images.Package {
		return images.Package{Name: name, SHA256: f.SHA256, Path: "pool/" + name + "_1_all.deb"}
	}
	p := images.Plan{Packages: []images.Package{pkg("a", a), pkg("b", b)}, Runtime: images.PlanRuntime{Packages: []images.Package{pkg("b", b), pkg("c", KeptFile{SHA256: hexOf("C")})}, Files: []images.Package{{}}}}
	k := Kept{Package: func(sum string) (string, bool) {
		file, ok := map[string]string{a.SHA256: a.File, b.SHA256: b.File}[sum]
		return file, ok
	}}
	var solve client.SolveOpt
	var opt llb.Options
	if err := k.offer(p, &solve, &opt); err != nil {
		t.Fatal(err)
	}
	name := llb.PackageMount(p.Packages)
	if diff := cmp.Diff([]string{name}, opt.Sent); diff != "" || len(solve.LocalMounts) != 1 {
		t.Fatalf("%s, %v", diff, solve.LocalMounts)
	}
	if diff := cmp.Diff([]string{"a_1_all.deb -rw-r--r-- 1", "b_1_all.deb -rw-r--r-- 1"}, walked(t, solve.LocalMounts[name])); diff != "" {
		t.Error(diff)
	}
}

// npm's packages lie as its cache has them.
func TestKeptNPMPackages(t *testing.T) {
	t.Parallel()
	k := Kept{NPM: map[string]KeptFile{"aabbcc": keptFile(t, "A"), "aabbdd": keptFile(t, "BB")}}
	var solve client.SolveOpt
	var opt llb.Options
	if err := k.offer(images.Plan{UI: &images.PlanUI{}}, &solve, &opt); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"_cacache drwxr-xr-x 0", "_cacache/content-v2 drwxr-xr-x 0", "_cacache/content-v2/sha512 drwxr-xr-x 0", "_cacache/content-v2/sha512/aa drwxr-xr-x 0",
		"_cacache/content-v2/sha512/aa/bb drwxr-xr-x 0", "_cacache/content-v2/sha512/aa/bb/cc -rw-r--r-- 1", "_cacache/content-v2/sha512/aa/bb/dd -rw-r--r-- 2",
	}
	if diff := cmp.Diff(want, walked(t, solve.LocalMounts[llb.NPMMount])); diff != "" {
		t.Error(diff)
	}
	// A plan without a web UI takes none of them.
	opt, solve = llb.Options{}, client.SolveOpt{}
	if err := k.offer(images.Plan{}, &solve, &opt); err != nil || len(opt.Sent)+len(solve.LocalMounts) > 0 {
		t.Errorf("%q, %v", opt.Sent, err)
	}
}

func walked(t *testing.T, f fsutil.FS) []string {
	t.Helper()
	var out []string
	err := f.Walk(t.Context(), "", func(path string, d fs.DirEntry, err error) error {
		info, ierr := d.Info()
		if err := errors.Join(err, ierr); err != nil {
			return err
		}
		out = append(out, fmt.Sprint(path, " ", info.Mode(), " ", info.Size()))
		if st, ok := info.Sys().(*types.Stat); !ok || st.Uid != 0 || st.Gid != 0 {
			t.Errorf("%s is %v", path, info.Sys())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Bytes that rotted since they were kept end the transfer.
func TestKeptFilesAreVerified(t *testing.T) {
	t.Parallel()
	good, bad := keptFile(t, "A"), keptFile(t, "B")
	bad.SHA256 = hexOf("what it was")
	k, err := newKeptFS(map[string]KeptFile{"good": good, "bad": bad})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"good": nil, "bad": ErrKeptDamaged, "none": fs.ErrNotExist} {
		r, err := k.Open(name)
		if err == nil {
			_, err = io.ReadAll(r)
			r.Close()
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := k.Walk(ctx, "", func(string, fs.DirEntry, error) error { return nil }); err == nil || err.Error() != "enough" {
		t.Error(err)
	}
}
