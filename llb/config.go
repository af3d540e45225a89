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

// The health check's times. Failures within the start period do not count, and
// loading a model from a slow disk takes minutes; a success ends it at once.
const (
	healthInterval = 10 * time.Second
	healthTimeout  = 5 * time.Second
	healthStart    = 30 * time.Minute
	healthRetries  = 3
)

func parsePlatform(s string) (ocispec.Platform, error) {
	os, arch, ok := strings.Cut(s, "/")
	if !ok || !slices.Contains(images.Platforms, s) {
		return ocispec.Platform{}, fmt.Errorf("platform %q is not one of %s", s, strings.Join(images.Platforms, ", "))
	}
	return ocispec.Platform{OS: os, Architecture: arch}, nil
}

// imageConfig is the image's config as JSON. The base's environment is kept,
// ours wins. The time of creation is the commit's, so that equal content has
// equal bytes.
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

// mergeEnv puts later settings in place of earlier ones of the same name, and
// adds a PATH where there is none.
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
