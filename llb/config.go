package llb

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The health check's times. Loading a model from a slow disk takes minutes. Failures in the
// start period do not count, and the first success ends it.
const (
	healthInterval = 10 * time.Second
	healthTimeout  = 5 * time.Second
	healthStart    = 30 * time.Minute
	healthRetries  = 3
)

func parsePlatform(s string) (ocispec.Platform, error) {
	os, arch, ok := strings.Cut(s, "/")
	if !ok || !slices.Contains(images.Platforms, s) {
		return ocispec.Platform{}, fmt.Errorf("platform must be one of %s, got %q", strings.Join(images.Platforms, ", "), s)
	}
	return ocispec.Platform{OS: os, Architecture: arch}, nil
}

// imageConfig is the image's config as JSON. It keeps the base's environment and overrides
// it with ours. Its creation time is the commit's, so that equal content gives equal bytes.
func imageConfig(p images.Plan, platform ocispec.Platform) ([]byte, error) {
	c := p.Image
	labels := maps.Clone(c.Labels)
	img := dockerspec.DockerOCIImage{
		Image: ocispec.Image{
			Platform: platform,
			RootFS:   ocispec.RootFS{Type: "layers"},
		},
		Config: dockerspec.DockerOCIImageConfig{
			ImageConfig: ocispec.ImageConfig{
				User:         c.User,
				Entrypoint:   c.Entrypoint,
				Env:          mergeEnv(p.Runtime.Base.Env, c.Env),
				ExposedPorts: map[string]struct{}{strconv.Itoa(c.Port) + "/tcp": {}},
				Labels:       labels,
				WorkingDir:   images.AppDir,
				StopSignal:   "SIGTERM",
			},
			DockerOCIImageConfigExt: dockerspec.DockerOCIImageConfigExt{
				Healthcheck: &dockerspec.HealthcheckConfig{
					Test:        c.Health,
					Interval:    healthInterval,
					Timeout:     healthTimeout,
					StartPeriod: healthStart,
					Retries:     healthRetries,
				},
			},
		},
	}
	if p.Source.Created != "" {
		t, err := time.Parse(time.RFC3339, p.Source.Created)
		if err != nil {
			return nil, fmt.Errorf("the commit's time: %w", err)
		}
		img.Created = &t
	}
	return json.Marshal(img)
}

// mergeEnv replaces earlier settings by later ones of the same name, and adds a PATH if
// there is none.
func mergeEnv(base, ours []string) []string {
	var out []string
	at := map[string]int{}
	for _, e := range slices.Concat(base, ours) {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	if _, ok := at["PATH"]; !ok {
		out = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, out...)
	}
	return out
}
