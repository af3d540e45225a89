package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
)

// change is a manipulation in a registry. Every descriptor above it is updated, so that
// digests alone do not reveal it.
type change struct {
	// layer is one in which a file is changed; config makes good what the config says of it.
	layer  string
	config bool
	// statement changes each statement; subjects makes good what they are about.
	statement func(string) string
	subjects  bool
}

var copies atomic.Int64

// tamper makes a changed copy of an image in the same repository and returns its name.
func (s *store) tamper(t *testing.T, of pulled, c change) string {
	t.Helper()
	index := of.index
	index.Manifests = append([]v1.Descriptor{}, of.index.Manifests...)
	now := ""
	for i := range index.Manifests {
		d := &index.Manifests[i]
		var m v1.Manifest
		if err := json.Unmarshal(s.get(t, "%s/manifests/%s", of.repo, d.Digest), &m); err != nil {
			t.Fatal(err)
		}
		switch {
		case d.Platform.OS == "unknown":
			// The index has the image first.
			d.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": now}
			if m.Subject != nil {
				m.Subject = &index.Manifests[0]
			}
			s.tamperStatements(t, of, &m, c, now)
		case c.layer == "":
			now = d.Digest.String()
			continue
		default:
			s.tamperImage(t, of, &m, c)
		}
		is := s.putManifest(t, of.repo, "", string(m.MediaType), m)
		if d.Digest, d.Size = is.Digest, is.Size; d.Platform.OS != "unknown" {
			now = is.Digest.String()
		}
	}
	tag := fmt.Sprintf("copy%d", copies.Add(1))
	s.putManifest(t, of.repo, tag, string(index.MediaType), index)
	return s.host + "/" + of.repo + ":" + tag
}

func (s *store) tamperImage(t *testing.T, of pulled, m *v1.Manifest, c change) {
	t.Helper()
	var config v1.ConfigFile
	if err := json.Unmarshal(s.get(t, "%s/blobs/%s", of.repo, m.Config.Digest), &config); err != nil {
		t.Fatal(err)
	}
	for i := range m.Layers {
		if m.Layers[i].Digest != of.layers[c.layer].Digest {
			continue
		}
		plain := gunzip(t, s.get(t, "%s/blobs/%s", of.repo, m.Layers[i].Digest))
		// The magic number of a program, which only its content has.
		at := bytes.LastIndex(plain, []byte("\x7fELF"))
		if at < 0 {
			t.Fatalf("layer %s has no program", c.layer)
		}
		plain[at+8] ^= 1
		s.putBlob(t, of.repo, &m.Layers[i], gzipped(t, plain))
		config.RootFS.DiffIDs[i] = v1.Hash{Algorithm: "sha256", Hex: digest.FromBytes(plain).Encoded()}
	}
	if !c.config {
		return
	}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	s.putBlob(t, of.repo, &m.Config, data)
}

func (s *store) tamperStatements(t *testing.T, of pulled, m *v1.Manifest, c change, now string) {
	t.Helper()
	for i := range m.Layers {
		data := string(s.get(t, "%s/blobs/%s", of.repo, m.Layers[i].Digest))
		if c.statement != nil {
			data = c.statement(data)
		}
		if c.subjects {
			data = strings.ReplaceAll(data, strings.TrimPrefix(of.manifest, "sha256:"), strings.TrimPrefix(now, "sha256:"))
		}
		s.putBlob(t, of.repo, &m.Layers[i], []byte(data))
	}
}

func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func gzipped(t *testing.T, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
