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

// Image is an image in the engine, with its labels.
type Image struct {
	// ID is the engine's id; Ref is a name, or the id if the image has no name.
	ID, Ref string
	Labels  map[string]string
	// Platform is the image's platform, as linux/amd64; empty if the engine does not report
	// it.
	Platform string
	// Tagged is when it got its name here; the creation time is its commit's time.
	Tagged time.Time
}

// Store is the part of Docker's client for images.
type Store interface {
	ImageInspect(ctx context.Context, id string, o ...client.ImageInspectOption) (image.InspectResponse, error)
	ImageList(ctx context.Context, o image.ListOptions) ([]image.Summary, error)
}

// Images lists the images with a label, newest first.
func Images(ctx context.Context, api Store, label string) ([]Image, error) {
	list, err := api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return nil, fault.New(fault.Machine, "cannot list the engine's images", err, unreachableAdvice(err))
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

// InspectImage looks up an image by name or id. errdefs.IsNotFound holds for the error of a
// missing image.
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
