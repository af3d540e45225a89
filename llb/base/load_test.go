package base

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/opencontainers/go-digest"

	"github.com/llorch/llorch-bk/images/fault"
)

// fakeEngine keeps what it is given, under the id that its kind gives images.
type fakeEngine struct {
	images map[string]string
	loads  int
	id     func(Base) digest.Digest
	base   Base
	answer string
	early  bool
	got    map[string][]byte
}

func (e *fakeEngine) ImageInspect(_ context.Context, ref string, _ ...client.ImageInspectOption) (image.InspectResponse, error) {
	id, ok := e.images[ref]
	if !ok {
		return image.InspectResponse{}, errdefs.ErrNotFound
	}
	return image.InspectResponse{ID: id}, nil
}

func (e *fakeEngine) ImageLoad(_ context.Context, in io.Reader, _ ...client.ImageLoadOption) (image.LoadResponse, error) {
	e.loads++
	if e.early {
		return image.LoadResponse{}, errors.New("no space left on device")
	}
	e.got = map[string][]byte{}
	for archive := tar.NewReader(in); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return image.LoadResponse{}, err
		}
		e.got[h.Name], _ = io.ReadAll(archive)
	}
	if e.answer == "" {
		e.images[e.base.Ref] = e.id(e.base).String()
		e.answer = `{"stream":"Loaded image"}`
	}
	return image.LoadResponse{JSON: true, Body: io.NopCloser(strings.NewReader(e.answer))}, nil
}

func TestLoadInto(t *testing.T) {
	t.Parallel()
	b, err := Bootstrap(t.Context(), options(t, script(t, "cat "+system(t, time.Now()))))
	if err != nil {
		t.Fatal(err)
	}
	byConfig := func(b Base) digest.Digest { return b.ConfigDigest }
	for _, tc := range []struct {
		name   string
		engine fakeEngine
		loads  int
		fails  string
	}{
		{name: "graph drivers", engine: fakeEngine{id: byConfig}, loads: 1},
		{name: "containerd store", engine: fakeEngine{id: func(b Base) digest.Digest { return b.Manifest.Digest }}, loads: 1},
		{name: "there already", engine: fakeEngine{id: byConfig, images: map[string]string{b.Ref: b.ConfigDigest.String()}}},
		{name: "another under that name", engine: fakeEngine{id: byConfig, images: map[string]string{b.Ref: "sha256:old"}}, loads: 1},
		{name: "refused in the stream", engine: fakeEngine{answer: `{"stream":"…"}{"error":"disk quota exceeded"}`}, loads: 1, fails: "disk quota exceeded"},
		{name: "refused before reading", engine: fakeEngine{early: true}, loads: 1, fails: "no space left"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := tc.engine
			e.base = b
			if e.images == nil {
				e.images = map[string]string{}
			}
			err := b.LoadInto(t.Context(), &e)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) || fault.ClassOf(err) != fault.Machine {
					t.Fatalf("got %v, want %q", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.loads != tc.loads {
				t.Errorf("%d loads, want %d", e.loads, tc.loads)
			}
			if tc.loads > 0 {
				checkArchive(t, b, e.got)
			}
		})
	}
}

func checkArchive(t *testing.T, b Base, got map[string][]byte) {
	t.Helper()
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(got["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	m := manifest[0]
	if m.RepoTags[0] != b.Ref || digest.FromBytes(got[m.Config]) != b.ConfigDigest || digest.FromBytes(got[m.Layers[0]]) != b.Layers[0].Digest {
		t.Errorf("the archive's manifest is %s", got["manifest.json"])
	}
	if !bytes.Contains(got["index.json"], []byte(`"io.containerd.image.name":"`+b.Ref+`"`)) || got["oci-layout"] == nil {
		t.Errorf("the archive's index is %s", got["index.json"])
	}
	// What is streamed is what the folder holds.
	onDisk, err := os.ReadFile(b.Layout + "/manifest.json")
	if err != nil || !bytes.Equal(onDisk, got["manifest.json"]) {
		t.Errorf("the folder's manifest is %s (%v)", onDisk, err)
	}
}
