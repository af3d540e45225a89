package source

import (
	"context"
	"crypto/sha1" //nolint:gosec // Git names files by it; what identifies a tree here is SHA-256.
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"golang.org/x/sync/errgroup"
)

// Entry is a file, folder or symbolic link of a tree, in the form that a builder receives.
type Entry struct {
	// Path is relative to the tree's top, with slashes.
	Path string
	// Mode is the type and, of the permissions, only what git records: whether a file
	// is executable.
	Mode fs.FileMode
	// Size is the file's size in bytes.
	Size int64
	// Link is the target of a symbolic link.
	Link string
	// SHA256 is the digest of the file's content, or of the link's target.
	SHA256 [sha256.Size]byte
	// blob is git's id of the same content.
	blob string
}

// Content is everything in a tree. It is read once, and exactly this is sent: content
// identifies a tree, and not git's status or a file's time.
type Content struct {
	// Dir is the tree's top on this machine.
	Dir string
	// Entries are in the order in which they are sent: a folder before its content, entries
	// of one folder by name.
	Entries []Entry
}

// Digest identifies the content. Equal trees have equal digests, wherever they are and
// whatever their files' times and owners.
func (c Content) Digest() string {
	h := sha256.New()
	for _, e := range c.Entries {
		if e.Mode.IsDir() {
			continue
		}
		fmt.Fprintf(h, "%s %q %x\n", gitMode(e.Mode), e.Path, e.SHA256)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// gitMode is git's notation of a mode.
func gitMode(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "120000"
	case m&0o100 != 0:
		return "100755"
	}
	return "100644"
}

// Read reads a tree except for the paths in leftOut, relative to its top. A file that
// cannot be read is a fault.Usage.
func Read(ctx context.Context, dir string, leftOut []string) (Content, error) {
	skip := make(map[string]bool, len(leftOut))
	for _, p := range leftOut {
		skip[p] = true
	}
	c := Content{Dir: dir}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case file == dir:
			return nil
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		// A worktree and a submodule have a file with this name, a repository a folder.
		if skip[rel] || d.Name() == ".git" {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		e := Entry{Path: rel}
		switch {
		case d.IsDir():
			e.Mode = fs.ModeDir | 0o755
		case d.Type()&fs.ModeSymlink != 0:
			e.Mode = fs.ModeSymlink | 0o777
			if e.Link, err = os.Readlink(file); err != nil {
				return err
			}
			e.SHA256, e.blob = sha256.Sum256([]byte(e.Link)), blobOf([]byte(e.Link))
		case d.Type().IsRegular():
			info, err := d.Info()
			if err != nil {
				return err
			}
			e.Mode = 0o644
			if info.Mode()&0o100 != 0 {
				e.Mode = 0o755
			}
		default:
			return nil // Sockets and pipes are not sources.
		}
		c.Entries = append(c.Entries, e)
		return nil
	})
	if err != nil {
		return Content{}, unreadable(ctx, dir, err)
	}
	// Git does not record empty folders, so they do not make a tree different.
	full := map[string]bool{}
	for _, e := range c.Entries {
		for p := path.Dir(e.Path); !e.Mode.IsDir() && p != "." && !full[p]; p = path.Dir(p) {
			full[p] = true
		}
	}
	c.Entries = slices.DeleteFunc(c.Entries, func(e Entry) bool { return e.Mode.IsDir() && !full[e.Path] })
	// BuildKit requires a folder's content before the folder's next neighbour. Sorting whole
	// paths would give another order: "a.b" before "a/b".
	slices.SortFunc(c.Entries, func(x, y Entry) int {
		return slices.Compare(strings.Split(x.Path, "/"), strings.Split(y.Path, "/"))
	})
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range c.Entries {
		if e := &c.Entries[i]; e.Mode.IsRegular() {
			g.Go(func() error { return e.read(ctx, dir) })
		}
	}
	if err := g.Wait(); err != nil {
		return Content{}, unreadable(ctx, dir, err)
	}
	return c, nil
}

func unreadable(ctx context.Context, dir string, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
		return err
	}
	return fault.New(fault.Usage, "cannot read the source "+dir, err, "check its permissions, and that nothing is writing to it")
}

// read reads a file's size and digests.
func (e *Entry) read(ctx context.Context, dir string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(e.Path)))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	e.Size = info.Size()
	sum, blob := sha256.New(), gitBlob(e.Size)
	n, err := io.Copy(io.MultiWriter(sum, blob), f)
	if err != nil {
		return err
	}
	if n != e.Size {
		return fmt.Errorf("%s changed while it was read", e.Path)
	}
	e.SHA256, e.blob = [sha256.Size]byte(sum.Sum(nil)), hex.EncodeToString(blob.Sum(nil))
	return nil
}

// gitBlob is the hash by which git identifies a file of this size.
func gitBlob(size int64) hash.Hash {
	h := sha1.New() //nolint:gosec // See above.
	fmt.Fprintf(h, "blob %d\x00", size)
	return h
}

func blobOf(data []byte) string {
	h := gitBlob(int64(len(data)))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// matches compares a tree with a commit, file by file. top is the tree's path in the
// repository: empty, or a folder with a slash at its end.
//
// git status would not do. It relies on times and sizes, and ignores files that it was told
// to skip (assume-unchanged, skip-worktree) or not to list (status.showUntrackedFiles). Files
// of a submodule are not part of the commit's own tree, which is all that a builder fetches:
// a tree with such files does not match.
func (r Resolver) matches(ctx context.Context, c Content, commit, top string) (bool, error) {
	out, err := r.git(ctx, c.Dir, "ls-tree", "-r", "-z", "--full-tree", commit+":"+strings.TrimSuffix(top, "/"))
	if err != nil {
		return false, err
	}
	type object struct{ mode, id string }
	want := map[string]object{}
	for line := range strings.SplitSeq(out, "\x00") {
		meta, path, ok := strings.Cut(line, "\t")
		if f := strings.Fields(meta); ok && len(f) == 3 && f[1] == "blob" {
			want[path] = object{f[0], f[2]}
		}
	}
	var changed []Entry
	files := 0
	for _, e := range c.Entries {
		if e.Mode.IsDir() {
			continue
		}
		files++
		w, ok := want[e.Path]
		switch {
		case !ok || w.mode != gitMode(e.Mode):
			return false, nil
		case w.id != e.blob:
			changed = append(changed, e)
		}
	}
	if files != len(want) {
		return false, nil
	}
	// A checkout converts some files, for example their line endings, as .gitattributes
	// says.
	for _, e := range changed {
		written, err := r.git(ctx, c.Dir, "-c", "core.autocrlf=false", "cat-file", "--filters", commit+":"+top+e.Path)
		if err != nil {
			return false, err
		}
		if sha256.Sum256([]byte(written)) != e.SHA256 {
			return false, nil
		}
	}
	return true, nil
}

// Open reads a file of the tree. Reading fails at the end if the file has changed since the
// tree was read, so that the builder receives what the digest identifies.
func (c Content) Open(name string) (io.ReadCloser, error) {
	i := slices.IndexFunc(c.Entries, func(e Entry) bool { return e.Path == filepath.ToSlash(name) })
	if i < 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := os.Open(filepath.Join(c.Dir, filepath.FromSlash(name)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return Checked(f, c.Entries[i].SHA256, func([sha256.Size]byte) error { return fmt.Errorf("%w: %s", ErrChanged, c.Entries[i].Path) }), nil
}

// ErrChanged means that a tree changed while it was sent.
var ErrChanged = errors.New("the source changed while it was sent")

// Checked returns a reader that fails at its end if the SHA-256 is not want. otherwise makes
// the error from the digest that was read.
func Checked(in io.ReadCloser, want [sha256.Size]byte, otherwise func(got [sha256.Size]byte) error) io.ReadCloser {
	return &checked{in, sha256.New(), want, otherwise}
}

type checked struct {
	io.ReadCloser
	sum       hash.Hash
	want      [sha256.Size]byte
	otherwise func(got [sha256.Size]byte) error
}

// Read implements io.Reader.
func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := [sha256.Size]byte(c.sum.Sum(nil)); got != c.want {
			return n, c.otherwise(got)
		}
	}
	return n, err
}
