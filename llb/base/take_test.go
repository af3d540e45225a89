package base

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// saver is an engine that has one image.
type saver struct {
	label   string
	archive []byte
	err     error
	saved   int
}

func (s *saver) ImageInspect(context.Context, string, ...client.ImageInspectOption) (image.InspectResponse, error) {
	if s.archive == nil {
		return image.InspectResponse{}, errdefs.ErrNotFound
	}
	config := &dockerspec.DockerOCIImageConfig{}
	config.Labels = map[string]string{LabelBootstrap: s.label}
	return image.InspectResponse{Architecture: "arm64", Config: config}, nil
}

func (s *saver) ImageSave(context.Context, []string, ...client.ImageSaveOption) (io.ReadCloser, error) {
	s.saved++
	return io.NopCloser(bytes.NewReader(s.archive)), s.err
}

// A builder apart from the engine is given the engine's bootstrapped base, the same to
// the byte, whatever became of the folder that it was made in.
func TestTake(t *testing.T) {
	t.Parallel()
	o := options(t, script(t, "cat "+system(t, time.Now())))
	made, err := Bootstrap(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := made.WriteArchive(&archive); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e := &saver{label: "trixie", archive: archive.Bytes()}
	for range 2 {
		got, ok, err := Take(t.Context(), dir, "trixie", made.Arch, e)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if got.Manifest.Digest != made.Manifest.Digest || got.ConfigDigest != made.ConfigDigest {
			t.Errorf("the manifest is %s, and was %s", got.Manifest.Digest, made.Manifest.Digest)
		}
	}
	if e.saved != 1 {
		t.Errorf("the engine was asked %d times", e.saved)
	}

	cut := archive.Bytes()[:archive.Len()/2]
	for name, c := range map[string]struct {
		engine saver
		fails  bool
	}{
		"an engine without it":          {saver{}, false},
		"another's under our name":      {saver{label: "", archive: archive.Bytes()}, false},
		"an engine that breaks off":     {saver{label: "trixie", archive: cut}, true},
		"an engine that gives an error": {saver{label: "trixie", archive: cut, err: errors.New("no")}, true},
	} {
		dir := t.TempDir()
		_, ok, err := Take(t.Context(), dir, "trixie", made.Arch, &c.engine)
		if ok || (err != nil) != c.fails {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
		if left := leftovers(t, dir); len(left) > 0 {
			t.Errorf("%s: left behind: %q", name, left)
		}
	}
}
