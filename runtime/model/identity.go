package model

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Identity is a model by its content: the same bytes wherever they come from.
type Identity struct {
	// Commit is the Hub's commit; empty for any other kind of ref.
	Commit string
	// Files are all files of the model, the one that the server is given first.
	Files []FileIdentity
}

// FileIdentity is one file of a model.
type FileIdentity struct {
	// Path is slash-separated, from the repository's root; a bare name for a model that
	// is in no repository.
	Path string
	// Size is in bytes.
	Size int64
	// SHA256 is in lower-case hex.
	SHA256 string
}

// Identify says what a ref means now. The Hub's listing has the hashes of large files,
// so that nothing is downloaded for them; any other model is fetched and read. Failures
// are as Fetch's.
func (f *Fetcher) Identify(ctx context.Context, ref Ref) (Identity, error) {
	if ref.Kind == Hub && !f.Environment.Offline {
		id, ok, err := f.listed(ctx, ref)
		if err != nil {
			return Identity{}, f.fault(ctx, ref, err)
		}
		if ok {
			return id, nil
		}
	}
	l, err := f.Fetch(ctx, ref)
	if err != nil {
		return Identity{}, err
	}
	id, err := f.IdentityOf(ctx, l)
	if err != nil {
		return Identity{}, f.fault(ctx, ref, err)
	}
	return id, nil
}

// listed is a Hub model's identity by the repository's listing; false where that does
// not have all files with their hashes.
func (f *Fetcher) listed(ctx context.Context, ref Ref) (Identity, bool, error) {
	l, err := f.list(ctx, ref, askRetries)
	if err != nil {
		return Identity{}, false, err
	}
	file := ref.File
	if file == "" {
		names := make([]string, len(l.Files))
		for i, f := range l.Files {
			names[i] = f.Path
		}
		if file, _, err = pick(names, ref.Quant); err != nil {
			return Identity{}, false, err
		}
	}
	id := Identity{Commit: l.Commit}
	for _, part := range shardsOf(file) {
		at := slices.IndexFunc(l.Files, func(f RemoteFile) bool { return f.Path == part })
		if at < 0 || l.Files[at].SHA256 == "" {
			return Identity{}, false, nil
		}
		id.Files = append(id.Files, FileIdentity{part, l.Files[at].Size, l.Files[at].SHA256})
	}
	if ref.SHA256 != "" && len(id.Files) == 1 && ref.SHA256 != id.Files[0].SHA256 {
		return Identity{}, false, &mismatchError{"SHA-256 on the Hub", ref.SHA256, id.Files[0].SHA256}
	}
	return id, true, nil
}

// IdentityOf is the identity of a model that is on this host. The store knows the hash of
// what it has; a file of the user's own is read.
func (f *Fetcher) IdentityOf(ctx context.Context, l Local) (Identity, error) {
	id := Identity{Commit: l.Commit}
	dir := filepath.Dir(l.Path)
	name := filepath.Base(l.Path)
	// Of the store's snapshots, the path in the repository.
	var inRepo string
	if l.Ref.Kind == Hub {
		inRepo = path.Dir(l.Ref.File)
	}
	for _, part := range shardsOf(name) {
		p := filepath.Join(dir, part)
		sum, size, err := f.sum(ctx, p, l.Dir != "")
		if err != nil {
			return Identity{}, err
		}
		id.Files = append(id.Files, FileIdentity{path.Join(inRepo, part), size, sum})
	}
	return id, nil
}

// sum is a file's hash and size. A blob of the store that is named by its SHA-256 was
// verified when it got that name.
func (f *Fetcher) sum(ctx context.Context, p string, stored bool) (sum string, size int64, err error) {
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", 0, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", 0, err
	}
	if blob := filepath.Base(real); stored && hex64.MatchString(blob) {
		return blob, info.Size(), nil
	}
	sum, err = f.hash(ctx, p, info.Size())
	return sum, info.Size(), err
}

// Pinned is the ref that means one identity and nothing else: a Hub's with the commit,
// a model in one file with its hash.
func (r Ref) Pinned(id Identity) string {
	raw := r.Raw
	if r.Kind == Hub && id.Commit != "" && len(id.Files) > 0 {
		raw = hubRaw(Ref{Repo: r.Repo, Revision: id.Commit}, id.Files[0].Path)
	}
	if len(id.Files) == 1 {
		if body, sum, err := cutSum(raw); err == nil && sum != "" {
			raw = body
		}
		raw += "#sha256=" + id.Files[0].SHA256
	}
	return raw
}
