package hub

import (
	"cmp"
	"context"
	"errors"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// File is a file of a hub, with all that the hub says of it.
type File struct {
	// Source is where to fetch it, at its commit where that is known.
	transfer.Source
	// Commit is the one that the ref's revision means; empty where nothing says it.
	Commit string
	// Blob is the name of its content in Hugging Face cache layout: the SHA-256 of a file
	// in LFS, else the git hash. It is empty where no hash is known.
	Blob string
}

// Lookup asks about the files of one repository at one revision. It asks for the listing at
// most once, and about all files at the commit that the first answer gives.
type Lookup struct {
	// Many says that several files are going to be asked for. The listing has them all.
	Many bool

	c *Client
	r ref.Ref

	commit  string
	listing *Listing
	// listErr is why there is no listing, nil where it was not asked for.
	listErr error
}

// Lookup asks about the files of a ref's repository.
func (c *Client) Lookup(r ref.Ref) *Lookup { return &Lookup{c: c, r: r} }

// List is what the repository has.
func (l *Lookup) List(ctx context.Context, retries uint64, note func(string)) (Listing, error) {
	if l.listing == nil && l.listErr == nil {
		at := l.r
		at.Revision = cmp.Or(l.commit, at.Revision)
		got, err := l.c.List(ctx, at, retries, note)
		if err != nil {
			l.listErr = err
			return Listing{}, err
		}
		l.listing = &got
		l.commit = cmp.Or(l.commit, got.Commit)
	}
	if l.listErr != nil {
		return Listing{}, l.listErr
	}
	return *l.listing, nil
}

// File asks which commit the revision is, and what a file in it hashes to: the listing where
// it is known already, else the file's own address, then the listing for what is left, and
// last the content network. Note gets a line for each new try.
func (l *Lookup) File(ctx context.Context, file string, retries uint64, note func(string)) (File, error) {
	// ModelScope says everything in its listing, and nothing at a file's address.
	if l.Many || l.r.Site == ref.ModelScope {
		_, _ = l.List(ctx, retries, note) // where there is none, the file's address is asked
	}
	if l.listing != nil {
		return l.listed(ctx, file, facts{size: -1}, retries, note)
	}
	if l.listErr != nil && (l.r.Site == ref.ModelScope || l.Many) && !isUnavailable(l.listErr) {
		return File{}, l.listErr
	}
	known, err := l.described(ctx, file, retries, note)
	if err != nil {
		return File{}, err
	}
	if known.whole() {
		return l.file(known)
	}
	_, err = l.List(ctx, retries, note)
	switch {
	case err == nil:
		return l.listed(ctx, file, known, retries, note)
	case ctx.Err() != nil:
		return File{}, context.Cause(ctx)
	case known.commit == "" && !known.hashed() && known.validator == "" && isHubAnswer(err):
		return File{}, err // the file's address said nothing, and this is an answer
	}
	return l.probed(ctx, known, retries, note)
}

// described is what the file's own address says.
func (l *Lookup) described(ctx context.Context, file string, retries uint64, note func(string)) (known facts, err error) {
	address := l.c.resolve(l.r.Repo, cmp.Or(l.commit, l.r.Revision)) + escaped(file)
	err = l.c.Transfer.Retry(ctx, retries, note, func() (bool, error) {
		known, err = l.c.describe(ctx, address)
		return false, err
	})
	if err != nil {
		return known, err
	}
	if digest.IsSHA1(l.r.Revision) {
		known.commit = cmp.Or(known.commit, l.r.Revision)
	}
	if known.commit != "" {
		l.commit = cmp.Or(l.commit, known.commit)
		known.address = l.c.resolve(l.r.Repo, known.commit) + escaped(file)
	}
	return known, nil
}

// listed adds what the listing says, which is about the very commit, to what is known.
func (l *Lookup) listed(ctx context.Context, file string, known facts, retries uint64, note func(string)) (File, error) {
	entry, ok := l.listing.Find(file)
	if !ok {
		return File{}, l.listing.Missing(file, &NoFileError{Repo: l.r.Repo, Revision: l.r.Revision, File: file})
	}
	known.address = l.listing.base + escaped(file)
	known.commit = cmp.Or(l.listing.Commit, known.commit)
	if known.sha256 == "" || entry.SHA256 != "" {
		known.sha256, known.git, known.size = entry.SHA256, entry.Git, entry.Size
	} else if known.size < 0 {
		known.size = entry.Size
	}
	return l.probed(ctx, known, retries, note)
}

// probed asks the content network for what is still not known: the size, or for a file that
// nobody has a hash of, what tells its versions apart.
func (l *Lookup) probed(ctx context.Context, known facts, retries uint64, note func(string)) (File, error) {
	if known.size < 0 || !known.hashed() && known.validator == "" {
		want := digest.Want{SHA256: cmp.Or(l.r.SHA256, known.sha256), Git: known.git}
		got, err := l.c.Transfer.Probe(ctx, known.address, want, retries, note)
		if err != nil {
			return File{}, err
		}
		known.size, known.validator = got.Size, got.Validator
		if !known.hashed() && l.r.SHA256 == "" {
			known.sha256 = got.Want.SHA256
		}
	}
	return l.file(known)
}

// file makes a File of what is known.
func (l *Lookup) file(known facts) (File, error) {
	r := l.r
	if known.size >= 0 && known.size < gguf.HeadSize {
		return File{}, gguf.Check(make([]byte, known.size))
	}
	if r.SHA256 != "" && known.sha256 != "" && r.SHA256 != known.sha256 {
		return File{}, &digest.MismatchError{Kind: "SHA-256 on the Hub", Want: r.SHA256, Got: known.sha256}
	}
	f := File{
		Source: transfer.Source{
			Address: known.address, Size: known.size,
			Want: digest.Want{SHA256: cmp.Or(known.sha256, r.SHA256), Git: known.git},
		},
		Commit: known.commit, Blob: cmp.Or(known.sha256, known.git, r.SHA256),
	}
	if f.Want.None() {
		f.Validator = known.validator
	}
	f.Resumable = f.Size >= 0 && (!f.Want.None() || f.Validator != "")
	if f.Size < 0 && f.Want.None() {
		return File{}, transfer.ErrNoSize
	}
	return f, nil
}

// errNoCommit is an answer about a revision that names no commit.
var errNoCommit = errors.New("there is no commit in its answer")
