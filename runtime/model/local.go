package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// Local is a model on this host. It is whole and, where there was anything to verify it
// against, verified.
type Local struct {
	Ref Ref
	// Path is the file's absolute path, of a split model its first file's. The file
	// exists, and this process can read it.
	Path string
	// Dir is the absolute folder to mount, empty for a user's own file, and Rel the
	// slash-separated path of the file inside it. The symlinks on the way are relative
	// and stay inside Dir.
	Dir, Rel string
	// Size of all files in bytes.
	Size int64
	// SHA256 in lower-case hex; of a split model its first file's.
	SHA256 string
	// Commit is the Hub's commit; empty for any other kind of ref, and where a mirror does
	// not say it.
	Commit string
	// Shards is the number of files that the model is in.
	Shards int

	// hashes are the SHA-256 of all files of a model in several, in order.
	hashes []string
}

// Content identifies the bytes of all files of the model, wherever they are: two models
// with the same one are the same model. It is empty where not every file's hash is known.
func (l Local) Content() string {
	if l.Shards <= 1 {
		return l.SHA256
	}
	if len(l.hashes) != l.Shards || slices.Contains(l.hashes, "") {
		return ""
	}
	h := digest.New(digest.NoGit)
	_, _ = io.WriteString(h, strings.Join(l.hashes, "\n"))
	return h.SHA256()
}

// local describes a file that the store has.
func (f *Fetcher) local(ctx context.Context, r Ref, d store.Folder, commit, file string) (Local, error) {
	blob, size, ok := d.Stored(commit, file)
	if !ok {
		return Local{}, fmt.Errorf("%s: %w", d.File(commit, file), errGone)
	}
	l := Local{
		Ref: r, Path: d.File(commit, file), Dir: d.Dir(),
		Rel: d.Rel(commit, file), Size: size, SHA256: blob, Shards: 1,
	}
	if r.Kind == ref.Hub && digest.IsSHA1(commit) {
		l.Commit = commit
	}
	// From here on, nobody removes it.
	switch err := f.Store.Hold(ctx, l.Path); {
	case errors.Is(err, fs.ErrNotExist):
		return Local{}, fmt.Errorf("%s: %w", l.Path, errGone)
	case err != nil:
		return Local{}, err
	}
	if !digest.IsSHA256(blob) { // stored under another name than its content's
		var err error
		if l.SHA256, err = f.contentHash(ctx, l.Path); err != nil {
			return Local{}, err
		}
	}
	if r.SHA256 != "" && l.SHA256 != r.SHA256 {
		return Local{}, &digest.MismatchError{Kind: "SHA-256 in the store", Want: r.SHA256, Got: l.SHA256}
	}
	return l, nil
}

// hash reads a whole file, which is shown as a step of its own. The hash is of the kind
// that name is.
func (f *Fetcher) hash(ctx context.Context, p, name string, size int64) (string, error) {
	task := f.begin("verify "+filepath.Base(p), size)
	sum, err := digest.File(ctx, p, name, size, task.Set)
	task.End(err)
	return sum, err
}
