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

// Entry is a file, folder or symbolic link of a tree, as a builder is sent it.
type Entry struct {
	// Path is relative to the tree's top, with slashes.
	Path string
	// Mode is the type and, of the permissions, what git keeps: whether a file
	// can be executed.
	Mode fs.FileMode
	// Size is the file's, in bytes.
	Size int64
	// Link is where a symbolic link points.
	Link string
	// SHA256 is the digest of the file's content, or of the link's target.
	SHA256 [sha256.Size]byte
	// blob is git's name for the same content.
	blob string
}

// Content is everything that a tree consists of. It is taken once, and nothing
// else is sent: a tree is called by what is in it, never by what git's status or
// a file's time says of it.
type Content struct {
	// Dir is the tree's top on this machine.
	Dir string
	// Entries are in the order in which they are sent: a folder before what is in it,
	// neighbours by name.
	Entries []Entry
}

// Digest identifies the content: equal trees have equal digests, wherever they
// are and whatever their files' times and owners.
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

// gitMode is a mode as git writes it.
func gitMode(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "120000"
	case m&0o100 != 0:
		return "100755"
	}
	return "100644"
}

// Read takes in a tree but for the paths, relative to its top, that are left out. A
// file that cannot be read is a fault.Usage.
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
		// A worktree and a submodule have a file of that name, a repository a folder.
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
			return nil // A socket or a pipe is no source.
		}
		c.Entries = append(c.Entries, e)
		return nil
	})
	if err != nil {
		return Content{}, unreadable(ctx, dir, err)
	}
	// Git knows no empty folders, and a tree is not another one for them.
	full := map[string]bool{}
	for _, e := range c.Entries {
		for p := path.Dir(e.Path); !e.Mode.IsDir() && p != "." && !full[p]; p = path.Dir(p) {
			full[p] = true
		}
	}
	c.Entries = slices.DeleteFunc(c.Entries, func(e Entry) bool { return e.Mode.IsDir() && !full[e.Path] })
	// BuildKit wants a folder's content before the folder's next neighbour, which is
	// not the order of whole paths: "a/b" comes before "a.b".
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
	return fault.New(fault.Usage, "the source "+dir+" cannot be read", err, "check who may read it, and that nothing writes to it now")
}

// read fills in what a file holds.
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

// gitBlob is the hash that names a file of this size in git.
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

// matches says whether a tree is a commit's, file by file. top is the tree's
// place in the repository: empty, or a folder with a slash at its end.
//
// git status is not asked: it believes times and sizes, and does not look at files
// that it was told to pass over (assume-unchanged, skip-worktree) or not to list
// (status.showUntrackedFiles). The files of a submodule are no part of the commit's
// own tree, which is all that a builder fetches: a tree that has them is another.
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
	// A checkout writes some files in another form than git keeps them: with other
	// line ends, say, as .gitattributes has it.
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

// Open reads a file of the tree, which fails at its end if the file is not what it
// was when the tree was read: what is sent is what the tree is called by.
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

// ErrChanged says that a tree changed while it was sent.
var ErrChanged = errors.New("the source changed while it was sent")

// Checked is a reader that fails at its end if what was read has another SHA-256. otherwise
// makes the error, of the one that it has.
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
