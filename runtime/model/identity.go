package model

import (
	"context"
	"os"
	"path"
	"path/filepath"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/hub"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// Identify returns what a ref means now. The Hub's listing has the hashes of large files,
// so these are not downloaded. Any other model is fetched and read. Failures are as
// Fetch's.
func (f *Fetcher) Identify(ctx context.Context, r Ref) (Identity, error) {
	r = f.Meant(r)
	if r.Kind == ref.Hub && !f.Environment.Offline {
		id, ok, err := f.listed(ctx, r)
		if err != nil && !hub.IsNoListing(err) {
			return Identity{}, f.fault(ctx, r, err)
		}
		if ok {
			return id, nil
		}
	}
	l, err := f.Fetch(ctx, r)
	if err != nil {
		return Identity{}, err
	}
	id, err := f.IdentityOf(ctx, l)
	if err != nil {
		return Identity{}, f.fault(ctx, r, err)
	}
	return id, nil
}

// listed is a Hub model's identity by the repository's listing. It is false where the
// listing lacks a file or its hash.
func (f *Fetcher) listed(ctx context.Context, r Ref) (Identity, bool, error) {
	asked := f.hub(r.Site).Lookup(r)
	l, err := f.listBy(ctx, r, asked, transfer.AskRetries)
	if err != nil {
		return Identity{}, false, err
	}
	file := r.File
	if file == "" {
		if file, _, err = f.pick(ctx, r, l.Names(), asked); err != nil {
			return Identity{}, false, err
		}
	}
	id := Identity{Commit: l.Commit}
	for _, shard := range gguf.Shards(file) {
		at, ok := l.Find(shard)
		if !ok || at.SHA256 == "" {
			return Identity{}, false, nil
		}
		id.Files = append(id.Files, ref.FileIdentity{Path: shard, Size: at.Size, SHA256: at.SHA256})
	}
	if r.SHA256 != "" && len(id.Files) == 1 && r.SHA256 != id.Files[0].SHA256 {
		return Identity{}, false, &digest.MismatchError{Kind: "SHA-256 on the Hub", Want: r.SHA256, Got: id.Files[0].SHA256}
	}
	return id, true, nil
}

// IdentityOf is the identity of a model that is on this host. The store knows the hashes
// of what it has. A file of the user's own is read.
func (f *Fetcher) IdentityOf(ctx context.Context, l Local) (Identity, error) {
	id := Identity{Commit: l.Commit}
	dir := filepath.Dir(l.Path)
	// inRepo is the folder in the Hub's repository.
	var inRepo string
	if l.Ref.Kind == ref.Hub {
		inRepo = path.Dir(l.Ref.File)
	}
	for _, shard := range gguf.Parts(l.Path) {
		p := filepath.Join(dir, shard)
		sum, size, err := f.sum(ctx, p, l.Dir != "")
		if err != nil {
			return Identity{}, err
		}
		id.Files = append(id.Files, ref.FileIdentity{Path: path.Join(inRepo, shard), Size: size, SHA256: sum})
	}
	return id, nil
}

// sum is the SHA-256 and the size of a file. A blob of the store that is named by its
// SHA-256 was verified when it got that name.
func (f *Fetcher) sum(ctx context.Context, p string, stored bool) (sum string, size int64, err error) {
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", 0, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", 0, err
	}
	if blob := filepath.Base(real); stored && digest.IsSHA256(blob) {
		return blob, info.Size(), nil
	}
	sum, err = f.contentHash(ctx, p)
	return sum, info.Size(), err
}
