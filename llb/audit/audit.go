package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/llorch/llorch-bk/llb"
)

// Check is a check that passed.
type Check struct {
	// What was checked: layer, config, manifest, SBOM, provenance, device code.
	What string `json:"what"`
	// Name is the layer's name in the image's history; empty for what an image has once.
	Name string `json:"name,omitempty"`
	// Digest is the digest of the blob that was checked.
	Digest string `json:"digest"`
	// Holds says what was found, for a person.
	Holds string `json:"holds"`
}

func (c Check) String() string {
	what := c.What
	if c.Name != "" {
		what += " " + c.Name
	}
	return fmt.Sprintf("%-28s %.19s  %s", what, c.Digest, c.Holds)
}

// Found is the result of auditing an image.
type Found struct {
	Checks []Check
	// Lock is the lock in the image; nil for an image without one.
	Lock []byte

	config *v1.ConfigFile
	files  files
}

// Untrue is a part of an image that contradicts its descriptor or statement, or that cannot
// be read.
type Untrue struct {
	// What, Name and Digest identify the part, as in Check.
	What, Name string
	Digest     v1.Hash
	Err        error
}

func (u *Untrue) Error() string {
	return fmt.Sprintf("%s (%s): %v", strings.TrimSpace(u.What+" "+u.Name), u.Digest, u.Err)
}

// Unwrap returns the cause.
func (u *Untrue) Unwrap() error { return u.Err }

func failed(what, name string, digest v1.Hash, err error) error {
	return &Untrue{what, name, digest, err}
}

// Content reads the whole image. It checks every blob against its descriptor, and every
// layer against the config. The error has an Untrue for each mismatch; see also Broken.
func Content(ctx context.Context, img *Image) (*Found, error) {
	f := &Found{files: files{}}
	manifest, err := f.manifest(img)
	if err != nil {
		return nil, err
	}
	names, err := f.readConfig(img, manifest)
	if err != nil {
		return nil, err
	}
	var wrong []error
	for i, desc := range manifest.Layers {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := f.layer(img, desc, f.config.RootFS.DiffIDs[i]); err != nil {
			wrong = append(wrong, failed("layer", names[i], desc.Digest, err))
			continue
		}
		f.holds("layer", names[i], desc.Digest, fmt.Sprintf("%d bytes, as described", desc.Size))
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	f.Lock = f.files[llb.LockPath]
	return f, nil
}

func (f *Found) holds(what, name string, digest v1.Hash, holds string) {
	f.Checks = append(f.Checks, Check{What: what, Name: name, Digest: digest.String(), Holds: holds})
}

// blob checks a blob that is small enough to be kept in memory.
func blob(desc v1.Descriptor, read func() ([]byte, error)) error {
	return checked(desc, func() (io.ReadCloser, error) {
		data, err := read()
		return io.NopCloser(bytes.NewReader(data)), err
	}, nil)
}

func (f *Found) manifest(img *Image) (*v1.Manifest, error) {
	if err := blob(img.Descriptor, img.RawManifest); err != nil {
		return nil, failed("manifest", "", img.Descriptor.Digest, err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, failed("manifest", "", img.Descriptor.Digest, err)
	}
	f.holds("manifest", "", img.Descriptor.Digest, fmt.Sprintf("%d layers", len(manifest.Layers)))
	return manifest, nil
}

// readConfig checks an image's config and returns the layers' names.
func (f *Found) readConfig(img *Image, manifest *v1.Manifest) ([]string, error) {
	desc := manifest.Config
	var raw []byte
	err := blob(desc, func() (_ []byte, err error) {
		raw, err = img.RawConfigFile()
		return raw, err
	})
	if err == nil {
		err = json.Unmarshal(raw, &f.config)
	}
	if err == nil && len(f.config.RootFS.DiffIDs) != len(manifest.Layers) {
		err = fmt.Errorf("it lists %d layers, but the manifest has %d", len(f.config.RootFS.DiffIDs), len(manifest.Layers))
	}
	if p := img.Descriptor.Platform; err == nil && p != nil && (f.config.OS != p.OS || f.config.Architecture != p.Architecture) {
		err = fmt.Errorf("it is for %s/%s, but the index says %s", f.config.OS, f.config.Architecture, p)
	}
	if err != nil {
		return nil, failed("config", "", desc.Digest, err)
	}
	f.holds("config", "", desc.Digest, fmt.Sprintf("for %s/%s", f.config.OS, f.config.Architecture))
	var names []string
	for _, h := range f.config.History {
		if !h.EmptyLayer {
			names = append(names, strings.TrimPrefix(h.CreatedBy, "[image] "))
		}
	}
	for i := len(names); i < len(manifest.Layers); i++ {
		names = append(names, fmt.Sprint(i+1))
	}
	return names, nil
}

func (f *Found) layer(img *Image, desc v1.Descriptor, diffID v1.Hash) error {
	each, done := f.files.layer()
	err := checked(desc, func() (io.ReadCloser, error) {
		layer, err := img.LayerByDigest(desc.Digest)
		if err != nil {
			return nil, err
		}
		return layer.Compressed()
	}, func(r io.Reader) error { return unpacked(diffID, r, each) })
	if err == nil {
		done()
	}
	return err
}
