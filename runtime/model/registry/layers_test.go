package registry

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestFileNames(t *testing.T) {
	t.Parallel()
	var none []v1.Descriptor
	if got := fileNames("m", append(none, v1.Descriptor{Annotations: map[string]string{"org.opencontainers.image.title": "mmproj-F16.gguf"}})); got[0] != "m.gguf" {
		t.Errorf("a projector's name is kept for a model: %v", got)
	}
}
