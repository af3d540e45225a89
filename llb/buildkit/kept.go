package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// Kept is what this machine has of a build, so that no step fetches it. The zero value
// is nothing.
type Kept struct {
	// Package is the file with the bytes of a sha256, in hex; nil where none are kept.
	Package func(sha256 string) (file string, ok bool)
	// NPM are the packages of the web UI, by their sha512 in hex; none where they are to
	// be fetched. The sha256 of each, in hex, is what it is verified by.
	NPM map[string]KeptFile
	// Images has the plan's bases, by their digests; nil where they are to be fetched.
	Images content.Store
	// Config is the config of an image in Images.
	Config func(digest string) ([]byte, error)
}

// KeptFile is a file that is verified while it is sent.
type KeptFile struct {
	File, SHA256 string
}

// offer adds what is kept to what the builder may ask this machine for, and tells the
// graph of it.
func (k Kept) offer(p images.Plan, solve *client.SolveOpt, opt *llb.Options) error {
	mount := func(name string, files map[string]KeptFile) error {
		if slices.Contains(opt.Sent, name) {
			return nil // another platform's plan takes the same
		}
		sent, err := newKeptFS(files)
		if err != nil {
			return err
		}
		if solve.LocalMounts == nil {
			solve.LocalMounts = map[string]fsutil.FS{}
		}
		solve.LocalMounts[name] = sent
		opt.Sent = append(opt.Sent, name)
		return nil
	}
	for _, f := range llb.Fetches(p) {
		if files, ok := k.packages(f.Packages); ok {
			if err := mount(f.Name, files); err != nil {
				return err
			}
		}
	}
	if p.UI != nil && len(k.NPM) > 0 {
		files := map[string]KeptFile{}
		for sum, f := range k.NPM {
			if len(sum) < 5 {
				return fmt.Errorf("%q is no sha512", sum)
			}
			files[path.Join("_cacache", llb.NPMContent, "sha512", sum[:2], sum[2:4], sum[4:])] = f
		}
		if err := mount(llb.NPMMount, files); err != nil {
			return err
		}
	}
	if k.Images != nil {
		if solve.OCIStores == nil {
			solve.OCIStores = map[string]content.Store{}
		}
		solve.OCIStores[llb.BundleStore] = k.Images
		opt.Bundled = true
	}
	return nil
}

// packages are a set's files by their names, if all are kept.
func (k Kept) packages(set []images.Package) (map[string]KeptFile, bool) {
	if k.Package == nil {
		return nil, false
	}
	files := map[string]KeptFile{}
	for _, p := range set {
		file, ok := k.Package(p.SHA256)
		if !ok {
			return nil, false
		}
		files[path.Base(p.Path)] = KeptFile{file, p.SHA256}
	}
	return files, true
}

// keptFS are files as they are sent to a builder: what a step that fetched them would
// have left, to the byte and the mode.
type keptFS struct {
	entries []*types.Stat
	files   map[string]KeptFile
	// sums are what the files are verified by.
	sums map[string][sha256.Size]byte
}

func newKeptFS(files map[string]KeptFile) (*keptFS, error) {
	k := &keptFS{files: files, sums: map[string][sha256.Size]byte{}}
	dirs := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		info, err := os.Stat(files[name].File)
		if err != nil {
			return nil, err
		}
		var sum [sha256.Size]byte
		if n, err := hex.Decode(sum[:], []byte(files[name].SHA256)); err != nil || n != len(sum) {
			return nil, fmt.Errorf("%q is no sha256", files[name].SHA256)
		}
		k.sums[name] = sum
		for dir := path.Dir(name); dir != "." && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
			k.entries = append(k.entries, &types.Stat{Path: dir, Mode: uint32(fs.ModeDir | 0o755)})
		}
		k.entries = append(k.entries, &types.Stat{Path: name, Mode: 0o644, Size: info.Size(), ModTime: timeOf(sum)})
	}
	// A folder's content comes before the folder's next neighbour.
	slices.SortFunc(k.entries, func(x, y *types.Stat) int {
		return slices.Compare(strings.Split(x.Path, "/"), strings.Split(y.Path, "/"))
	})
	return k, nil
}

// Walk implements fsutil.FS.
func (k *keptFS) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	target = strings.Trim(filepath.ToSlash(target), "/")
	for _, e := range k.entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if target != "" && target != "." && e.Path != target && !strings.HasPrefix(e.Path, target+"/") {
			continue
		}
		sent := e.CloneVT()
		sent.Path = filepath.FromSlash(e.Path)
		if err := fn(sent.Path, &fsutil.DirEntryInfo{Stat: sent}, nil); err != nil && !errors.Is(err, fs.SkipDir) {
			if errors.Is(err, fs.SkipAll) {
				return nil
			}
			return err
		}
	}
	return nil
}

// Open implements fsutil.FS. A file whose bytes are no longer those that it was kept as
// fails at its end.
func (k *keptFS) Open(name string) (io.ReadCloser, error) {
	name = filepath.ToSlash(name)
	kept, ok := k.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := os.Open(kept.File)
	if err != nil {
		return nil, err
	}
	return source.Checked(f, k.sums[name], func(got [sha256.Size]byte) error {
		return fmt.Errorf("%w: %s has the sha256 %x", ErrKeptDamaged, kept.File, got)
	}), nil
}

// ErrKeptDamaged says that a file is no longer what was kept.
var ErrKeptDamaged = errors.New("what is kept is damaged, and repaired by llorch-bk bundle load, or lock --keep")
