package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/attest"
	"github.com/moby/buildkit/util/attestation"
)

// predicateType is the annotation of a layer with the predicate type of its statement.
const predicateType = "in-toto.io/predicate-type"

// Statements checks every statement in the image's index: that it is about this image, and
// that it agrees with the image's files and lock. It adds to f those that pass. lock is the
// one that the image was built from; nil if it is unknown. The error lists every statement
// that fails.
func (f *Found) Statements(ctx context.Context, img *Image, lock *images.Lock) error {
	var wrong []error
	for _, desc := range img.beside {
		if desc.Annotations[attestation.DockerAnnotationReferenceType] != attestation.DockerAnnotationReferenceTypeDefault {
			continue
		}
		of := desc.Annotations[attestation.DockerAnnotationReferenceDigest]
		if !slices.ContainsFunc(img.beside, func(d v1.Descriptor) bool { return d.Digest.String() == of }) {
			wrong = append(wrong, failed("statements", "", desc.Digest, fmt.Errorf("they are about %s, which is not in the index", of)))
			continue
		}
		if of != img.Descriptor.Digest.String() {
			continue // About another platform's image.
		}
		if err := f.statementsIn(ctx, img, desc, lock); err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

// statementsIn checks the statements in one manifest.
func (f *Found) statementsIn(ctx context.Context, img *Image, desc v1.Descriptor, lock *images.Lock) error {
	in, err := img.index.Image(desc.Digest)
	if err != nil {
		return failed("statements", "", desc.Digest, err)
	}
	if err := blob(desc, in.RawManifest); err != nil {
		return failed("statements", "", desc.Digest, err)
	}
	manifest, err := in.Manifest()
	if err != nil {
		return failed("statements", "", desc.Digest, err)
	}
	if of := manifest.Subject; of != nil && of.Digest != img.Descriptor.Digest {
		return failed("statements", "", desc.Digest, fmt.Errorf("their manifest says that they are about %s", of.Digest))
	}
	var wrong []error
	for _, layer := range manifest.Layers {
		name := attest.Names[layer.Annotations[predicateType]]
		if name == "" {
			name = "statement " + layer.Annotations[predicateType]
		}
		holds, err := f.statement(ctx, img, in, layer, lock)
		if err != nil {
			wrong = append(wrong, failed(name, "", layer.Digest, err))
			continue
		}
		f.holds(name, "", layer.Digest, holds)
	}
	return errors.Join(wrong...)
}

// statement checks one statement and describes what it confirms.
func (f *Found) statement(ctx context.Context, img *Image, in v1.Image, desc v1.Descriptor, lock *images.Lock) (string, error) {
	if desc.Size > maxFile {
		return "", fmt.Errorf("too large: got %d bytes, want at most %d", desc.Size, maxFile)
	}
	var data []byte
	err := checked(desc, func() (io.ReadCloser, error) {
		layer, err := in.LayerByDigest(desc.Digest)
		if err != nil {
			return nil, err
		}
		return layer.Compressed()
	}, func(r io.Reader) (err error) {
		data, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return "", err
	}
	s, err := attest.ParseStatement(data)
	if err != nil {
		return "", err
	}
	if said := desc.Annotations[predicateType]; said != s.PredicateType {
		return "", fmt.Errorf("its type is %s, but its manifest says %s", s.PredicateType, said)
	}
	if err := s.About(img.Descriptor.Digest.Hex); err != nil {
		return "", err
	}
	return f.predicate(ctx, s, lock)
}

// predicate checks the content of a statement.
func (f *Found) predicate(ctx context.Context, s attest.Statement, lock *images.Lock) (string, error) {
	labels := f.config.Config.Labels
	in := attest.Inputs{Commit: strings.TrimSuffix(labels[images.LabelCommit], "-dirty"), Sent: llb.SourceMount}
	if lock != nil {
		in.Commit, in.Bases = lock.Source.Commit, lock.Bases(f.config.OS+"/"+f.config.Architecture)
		in.Others = map[string]string{}
		for platform := range lock.Platforms {
			maps.Copy(in.Others, lock.Bases(platform))
		}
	}
	switch s.PredicateType {
	case attest.PredicateSPDX:
		packages, err := attest.Installed(ctx, f.files)
		if err != nil {
			return "", fmt.Errorf("the image's own list of packages: %w", err)
		}
		return fmt.Sprintf("%d packages of the distribution, as in the image", len(packages)), attest.CheckSPDX(s.Predicate, packages, in.Commit)
	case attest.PredicateDeviceCode:
		libraries, err := f.files.List(ctx, images.AppDir)
		if err != nil {
			return "", err
		}
		code, err := attest.ParseDeviceCode(libraries, labels[images.LabelCPU], labels[images.LabelCUDAArchs])
		if err != nil {
			return "", fmt.Errorf("the image's own files: %w", err)
		}
		return "as in " + images.AppDir, attest.CheckDeviceCode(s.Predicate, code)
	case attest.PredicateProvenance, attest.PredicateProvenance02:
		holds := fmt.Sprintf("commit %.12s", in.Commit)
		if lock != nil {
			holds += fmt.Sprintf(" and %d base images, as locked", len(in.Bases))
		}
		return holds, attest.CheckProvenance(s.Predicate, in)
	}
	return "", errors.New("unknown predicate type; this program cannot check it")
}
