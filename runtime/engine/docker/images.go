package docker

import (
	"context"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images/fault"
)

// Image is an image in the engine, with what its labels say.
type Image struct {
	// ID is the engine's id of it, Ref a name, or the id where it has none.
	ID, Ref string
	Labels  map[string]string
	// Platform is what it is for, as linux/amd64; empty where the engine does not say.
	Platform string
	// Tagged is when it got its name here; the image's own time is its commit's.
	Tagged time.Time
}

// Store is what is used of a client for images.
type Store interface {
	ImageInspect(ctx context.Context, id string, o ...client.ImageInspectOption) (image.InspectResponse, error)
	ImageList(ctx context.Context, o image.ListOptions) ([]image.Summary, error)
}

// Images lists the images with a label, the newest first.
func Images(ctx context.Context, api Store, label string) ([]Image, error) {
	list, err := api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return nil, fault.New(fault.Machine, "the engine's images cannot be listed", err, "see whether the engine runs with `llorch-bk doctor`")
	}
	var out []Image
	for _, s := range list {
		img, err := InspectImage(ctx, api, s.ID)
		if errdefs.IsNotFound(err) { // Removed since.
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, img)
	}
	slices.SortStableFunc(out, func(x, y Image) int { return y.Tagged.Compare(x.Tagged) })
	return out, nil
}

// InspectImage looks an image up by name or id. One that is not there is an error
// that errdefs.IsNotFound knows.
func InspectImage(ctx context.Context, api Store, name string) (Image, error) {
	info, err := api.ImageInspect(ctx, name)
	if err != nil {
		return Image{}, err
	}
	img := Image{ID: info.ID, Ref: info.ID, Tagged: info.Metadata.LastTagTime}
	if info.Config != nil {
		img.Labels = info.Config.Labels
	}
	if info.Os != "" && info.Architecture != "" {
		img.Platform = info.Os + "/" + info.Architecture
	}
	if len(info.RepoTags) > 0 {
		img.Ref = info.RepoTags[0]
	}
	return img, nil
}
