// Package bundle stores the files that a lock lists: packages, npm packages, base images,
// source, builder and model, as blobs of an OCI image layout. A folder with the layout is a
// store, an archive for one lock is a bundle, and a registry can have the same content.
package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Store is a folder with an OCI image layout. Any number of processes may use it at the same
// time. A blob appears under its name complete and verified, or not at all.
type Store struct {
	dir string
	// content opens the folder once and creates it if needed.
	content func() (content.Store, error)
}

// Open returns the store in dir. The folder need not exist: the first blob creates it.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("the folder of a bundle: %w", err)
	}
	if _, err := os.Stat(filepath.Join(abs, ocispec.ImageIndexFile)); errors.Is(err, fs.ErrNotExist) {
		// Do not mix the store's blobs with other files.
		if entries, err := os.ReadDir(abs); err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !ours[e.Name()] }) {
			return nil, fmt.Errorf("%s has other files and is not an OCI layout", dir)
		}
	}
	return &Store{abs, sync.OnceValues(func() (content.Store, error) { return local.NewStore(abs) })}, nil
}

// ours are the files and folders of a store, including those of an interrupted first use.
var ours = map[string]bool{ocispec.ImageBlobsDir: true, ocispec.ImageIndexFile: true, ocispec.ImageLayoutFile: true, ingest: true, lockFile: true}

const (
	ingest   = "ingest"
	lockFile = ".lock"
	// abandoned is the age at which leftovers of a killed process are removed.
	abandoned = 24 * time.Hour
)

// Dir is the store's absolute path.
func (s *Store) Dir() string { return s.dir }

// Content is the store in the form from which a builder reads images.
func (s *Store) Content() (content.Store, error) { return s.content() }

// Path is the path of a blob's file, whether or not the store has it.
func (s *Store) Path(d digest.Digest) string {
	return filepath.Join(s.dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// Has reports whether the store has a blob. It does not verify it.
func (s *Store) Has(d digest.Digest) bool {
	info, err := os.Stat(s.Path(d))
	return d.Validate() == nil && err == nil && info.Mode().IsRegular()
}

// Sound reports whether the store has a blob and its bytes match its digest. A damaged blob
// is removed, so that it can be fetched again.
func (s *Store) Sound(ctx context.Context, d digest.Digest) bool {
	if !s.Has(d) {
		return false
	}
	f, err := os.Open(s.Path(d))
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = verify(ctx, d, f)
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		_ = s.Remove(d)
	}
	return err == nil
}

// Read returns a small blob, verified.
func (s *Store) Read(d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.Path(d))
	if err != nil {
		return nil, err
	}
	if got := d.Algorithm().FromBytes(data); got != d {
		return nil, &DamagedError{Blob: d, Got: got}
	}
	return data, nil
}

// DamagedError means that a blob's bytes do not match its digest.
type DamagedError struct {
	Blob digest.Digest
	// Got is the digest of its bytes; empty if the blob is truncated.
	Got digest.Digest
}

func (e *DamagedError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("blob %s is truncated", e.Blob)
	}
	return fmt.Sprintf("blob %s: digest mismatch: got %s", e.Blob, e.Got)
}

// Put stores a blob and verifies it against want while reading. If the store already has
// the blob, both are still verified, so that storing it again repairs it.
func (s *Store) Put(ctx context.Context, want digest.Digest, r io.Reader) (size int64, err error) {
	if err := want.Validate(); err != nil {
		return 0, err
	}
	if s.Sound(ctx, want) {
		return verify(ctx, want, r)
	}
	store, err := s.Content()
	if err != nil {
		return 0, err
	}
	// Two processes that write the same blob must not write to the same file.
	w, err := content.OpenWriter(ctx, store, content.WithRef(want.Encoded()+"-"+identity.NewID()))
	if err != nil {
		return 0, err
	}
	ref := ""
	defer func() {
		w.Close()
		if err != nil && ref != "" {
			_ = store.Abort(context.WithoutCancel(ctx), ref)
		}
	}()
	if st, err := w.Status(); err == nil {
		ref = st.Ref
	}
	size, err = copyUntil(ctx, w, r)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return size, &DamagedError{Blob: want}
	}
	if err != nil {
		return size, err
	}
	if got := w.Digest(); got != want {
		return size, &DamagedError{Blob: want, Got: got}
	}
	if err := w.Commit(ctx, size, want); err != nil && !errdefs.IsAlreadyExists(err) {
		return size, err
	}
	return size, nil
}

// PutFile stores a file as a blob.
func (s *Store) PutFile(ctx context.Context, want digest.Digest, file string) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return s.Put(ctx, want, f)
}

// put stores a small blob of a type and describes it.
func (s *Store) put(ctx context.Context, mediaType string, data []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	_, err := s.Put(ctx, d.Digest, bytes.NewReader(data))
	return d, err
}

// Remove deletes a blob from the store.
func (s *Store) Remove(d digest.Digest) error {
	err := os.Remove(s.Path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func verify(ctx context.Context, want digest.Digest, r io.Reader) (int64, error) {
	v := want.Algorithm().Digester()
	n, err := copyUntil(ctx, v.Hash(), r)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return n, &DamagedError{Blob: want}
	}
	if err == nil && v.Digest() != want {
		err = &DamagedError{Blob: want, Got: v.Digest()}
	}
	return n, err
}

// copyUntil copies until the end, or until ctx ends.
func copyUntil(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, cancelled{ctx, r}, make([]byte, 1<<20))
}

type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// Index is the store's index; empty if there is none.
func (s *Store) Index() (ocispec.Index, error) {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	data, err := os.ReadFile(filepath.Join(s.dir, ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		return index, fmt.Errorf("the index of %s: %w", s.dir, err)
	}
	return index, nil
}

// update changes the index, one process at a time.
func (s *Store) update(ctx context.Context, change func(*ocispec.Index) error) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(s.dir, lockFile))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return fmt.Errorf("the lock of %s: %w", s.dir, err)
	}
	defer func() { _ = lock.Unlock() }()
	s.sweep(ctx)
	index, err := s.Index()
	if err != nil {
		return err
	}
	if err := change(&index); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		v    any
	}{{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}}, {ocispec.ImageIndexFile, index}} {
		data, err := json.Marshal(f.v)
		if err != nil {
			return err
		}
		path := filepath.Join(s.dir, f.name)
		if err := renameio.WriteFile(path, data, 0o644, renameio.WithTempDir(s.dir), renameio.WithStaticPermissions(0o644)); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes leftovers of killed processes that are too old to be in use.
func (s *Store) sweep(ctx context.Context) {
	store, err := s.Content()
	if err != nil {
		return
	}
	left, err := store.ListStatuses(ctx)
	if err != nil {
		return
	}
	for _, l := range left {
		if time.Since(l.UpdatedAt) > abandoned {
			_ = store.Abort(ctx, l.Ref)
		}
	}
}
