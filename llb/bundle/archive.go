package bundle

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// epoch is the time of an archive's files. It is fixed, so that equal content gives equal bytes.
var epoch = time.Unix(0, 0).UTC()

// Contents are the blobs of an archive.
type Contents struct {
	index ocispec.Index
	blobs []ocispec.Descriptor
	// Bytes is the total size of the blobs.
	Bytes int64
}

// Contents lists the blobs of an artifact and its bases, for writing them.
func (s *Store) Contents(a Artifact) (Contents, error) {
	c := Contents{index: ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{a.Manifest}}}
	index, err := s.Index()
	if err != nil {
		return c, err
	}
	add := func(all ...ocispec.Descriptor) { c.blobs = append(c.blobs, all...) }
	config, err := a.Lock.Encode()
	if err != nil {
		return c, err
	}
	add(a.Manifest, ocispec.Descriptor{Digest: a.LockDigest, Size: int64(len(config))})
	add(a.Blobs...)
	for _, b := range a.Bases() {
		i := slices.IndexFunc(index.Manifests, func(d ocispec.Descriptor) bool { return d.Digest.String() == b.Digest })
		if i < 0 {
			return c, fmt.Errorf("base %s@%s: %w", b.Ref, b.Digest, ErrNotThere)
		}
		c.index.Manifests = append(c.index.Manifests, index.Manifests[i])
		all, err := s.imageBlobs(index.Manifests[i], a.Platform)
		if err != nil {
			return c, err
		}
		add(all...)
	}
	slices.SortFunc(c.index.Manifests, func(x, y ocispec.Descriptor) int { return cmp.Compare(x.Digest, y.Digest) })
	slices.SortFunc(c.blobs, func(x, y ocispec.Descriptor) int { return cmp.Compare(x.Digest, y.Digest) })
	c.blobs = slices.CompactFunc(c.blobs, func(x, y ocispec.Descriptor) bool { return x.Digest == y.Digest })
	for _, b := range c.blobs {
		c.Bytes += b.Size
	}
	return c, nil
}

// imageBlobs are all blobs of an image for a platform.
func (s *Store) imageBlobs(d ocispec.Descriptor, platform string) ([]ocispec.Descriptor, error) {
	out := []ocispec.Descriptor{d}
	data, err := s.Read(d.Digest)
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, err
	}
	if child, ok := PlatformOf(index, platform); ok {
		out = append(out, child)
	}
	m, err := s.manifest(d.Digest, platform)
	if err != nil {
		return nil, err
	}
	return append(append(out, m.Config), m.Layers...), nil
}

// WriteArchive writes contents as an archive of an OCI layout. elsewhere has the files of
// blobs that are outside the store. Blobs are verified while they are written. A damaged
// blob is removed from the store, so that it can be fetched again.
func (s *Store) WriteArchive(ctx context.Context, w io.Writer, c Contents, elsewhere map[digest.Digest]string, done func(bytes int64)) error {
	out := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		v    any
	}{{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}}, {ocispec.ImageIndexFile, c.index}} {
		data, err := json.Marshal(f.v)
		if err == nil {
			err = out.WriteHeader(header(f.name, int64(len(data))))
		}
		if err == nil {
			_, err = out.Write(data)
		}
		if err != nil {
			return err
		}
	}
	var sum int64
	for _, b := range c.blobs {
		file, ok := elsewhere[b.Digest]
		if !ok {
			file = s.Path(b.Digest)
		}
		if err := addFile(ctx, out, file, b); err != nil {
			var damaged *DamagedError
			if errors.As(err, &damaged) && !ok {
				_ = s.Remove(b.Digest)
			}
			return err
		}
		sum += b.Size
		done(sum)
	}
	return out.Close()
}

func addFile(ctx context.Context, out *tar.Writer, file string, b ocispec.Descriptor) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := out.WriteHeader(header(blobName(b.Digest), b.Size)); err != nil {
		return err
	}
	n, err := verify(ctx, b.Digest, io.TeeReader(f, out))
	if err == nil && n != b.Size {
		err = &DamagedError{Blob: b.Digest}
	}
	return err
}

func blobName(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: epoch, Format: tar.FormatPAX}
}

// maxIndex is the maximum size of an index in bytes. An index lists a few manifests.
const maxIndex = 4 << 20

// ErrNoBundle means that a file or folder is not a bundle.
var ErrNoBundle = errors.New("not a bundle")

// Load stores an archive, or the folder of an OCI layout, with its artifacts. Every blob is
// verified while it is read. The store's index lists an artifact only when all its blobs are
// stored. done receives the number of bytes read.
func (s *Store) Load(ctx context.Context, file string, done func(bytes int64)) ([]Artifact, error) {
	var index []byte
	var sum int64
	take := func(name string, r io.Reader) error {
		switch d, isBlob := blobOf(name); {
		case name == ocispec.ImageIndexFile:
			data, err := io.ReadAll(io.LimitReader(r, maxIndex))
			index = data
			return err
		case isBlob:
			n, err := s.Put(ctx, d, r)
			sum += n
			done(sum)
			return err
		}
		return nil
	}
	if err := each(file, take); err != nil {
		return nil, err
	}
	if index == nil {
		return nil, fmt.Errorf("%w: it has no %s", ErrNoBundle, ocispec.ImageIndexFile)
	}
	return s.accept(ctx, index)
}

// blobOf parses the digest in the name of a layout's blob.
func blobOf(name string) (digest.Digest, bool) {
	rest, ok := strings.CutPrefix(path.Clean(name), ocispec.ImageBlobsDir+"/")
	algorithm, hex, found := strings.Cut(rest, "/")
	d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	return d, ok && found && d.Validate() == nil
}

// each calls take for every regular file of an archive or folder, with its name in it.
func each(file string, take func(name string, r io.Reader) error) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return filepath.WalkDir(file, func(p string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(file, p)
			if err != nil {
				return err
			}
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			return take(filepath.ToSlash(rel), f)
		})
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	read := 0
	for t := tar.NewReader(f); ; read++ {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && read == 0:
			return fmt.Errorf("%w: %w", ErrNoBundle, err)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("the archive is truncated between two blobs")
		case err != nil:
			return err
		case h.Typeflag != tar.TypeReg:
			continue
		}
		if err := take(path.Clean(h.Name), t); err != nil {
			return err
		}
	}
}

// accept adds the artifacts of an index to the store's, if all their blobs are stored.
func (s *Store) accept(ctx context.Context, data []byte) ([]Artifact, error) {
	var index ocispec.Index
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&index); err != nil {
		return nil, fmt.Errorf("%w: its %s: %w", ErrNoBundle, ocispec.ImageIndexFile, err)
	}
	var found []Artifact
	var added []ocispec.Descriptor
	for _, d := range index.Manifests {
		if d.ArtifactType != ArtifactType {
			continue
		}
		if !s.Has(d.Digest) {
			return nil, fmt.Errorf("blob %s: %w", d.Digest, ErrNotThere)
		}
		a, err := readArtifact(d, s.Read)
		if err != nil {
			return nil, err
		}
		for _, b := range a.Blobs {
			info, err := os.Stat(s.Path(b.Digest))
			if err != nil {
				return nil, fmt.Errorf("blob %s (%s): %w", b.Digest, b.Annotations[ocispec.AnnotationTitle], ErrNotThere)
			}
			if info.Size() != b.Size {
				return nil, fmt.Errorf("blob %s: size mismatch: got %d bytes, the manifest says %d", b.Digest, info.Size(), b.Size)
			}
		}
		found, added = append(found, a), append(added, d)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: it has no content for a lock", ErrNoBundle)
	}
	for _, a := range found {
		for _, base := range a.Bases() {
			i := slices.IndexFunc(index.Manifests, func(d ocispec.Descriptor) bool { return d.Digest.String() == base.Digest })
			if i < 0 {
				continue // A folder of packages alone has no bases.
			}
			if _, err := s.Image(index.Manifests[i].Digest, a.Platform); err != nil {
				return nil, fmt.Errorf("base %s: %w", base.Ref, err)
			}
			added = append(added, index.Manifests[i])
		}
	}
	return found, s.update(ctx, func(index *ocispec.Index) error { return merge(index, s.Read, added) })
}
