package signature_test

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/llorch/llorch-bk/llb/signature"
)

// Signatures are beside the image, in registries that know referrers and in others.
func TestRegistry(t *testing.T) {
	t.Parallel()
	for name, referrers := range map[string]bool{"referrers": true, "tags": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image, hex := pushed(t, referrers)
			if got, err := signature.Find(t.Context(), image); err != nil || len(got) != 0 {
				t.Fatalf("%v, %v", got, err)
			}
			private, public := newKey(t, p256(t))
			for _, kind := range []string{signature.PredicateSign, signature.PredicateRebuilt} {
				s, err := signature.Statement(kind, hex, signature.Rebuilt{Tool: "test"})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := signature.Push(t.Context(), image, kind, signed(t, private, s)); err != nil {
					t.Fatal(err)
				}
			}
			found, err := signature.Find(t.Context(), image)
			if err != nil {
				t.Fatal(err)
			}
			kinds := map[string]bool{}
			for _, b := range found {
				got, err := trust(t, public).Verify(b.Data, hex)
				if err != nil {
					t.Fatal(err)
				}
				kinds[got.PredicateType] = true
			}
			if len(found) != 2 || !kinds[signature.PredicateSign] || !kinds[signature.PredicateRebuilt] {
				t.Errorf("found %d: %v", len(found), kinds)
			}
			if _, err := remote.Head(image.Context().Tag("sha256-" + hex)); (err == nil) == referrers {
				t.Errorf("the tag that stands in for referrers: %v", err)
			}
		})
	}
}

// What else refers to an image is left alone.
func TestOthers(t *testing.T) {
	t.Parallel()
	image, _ := pushed(t, true)
	desc, err := remote.Head(image)
	if err != nil {
		t.Fatal(err)
	}
	other := mutate.Subject(mutate.MediaType(empty.Image, types.OCIManifestSchema1), *desc)
	if err := remote.Push(image.Context().Tag("other"), other.(remote.Taggable)); err != nil {
		t.Fatal(err)
	}
	if got, err := signature.Find(t.Context(), image); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// pushed is an image in a registry of the test's own.
func pushed(t *testing.T, referrers bool) (image name.Digest, hex string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
	t.Cleanup(server.Close)
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/llama:x")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return tag.Digest(digest.String()), digest.Hex
}
