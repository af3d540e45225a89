package docker

import (
	"context"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// Stock lists what llorch-bk created on the engine besides its servers.
func Stock(ctx context.Context, api *client.Client) (engine.Stock, error) {
	cannot := func(what string, err error) (engine.Stock, error) {
		return engine.Stock{}, fault.New(fault.Machine, "cannot list the engine's "+what, err, unreachableAdvice(err))
	}
	containers, err := api.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return cannot("containers", err)
	}
	made, err := api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", images.LabelRecipe))})
	if err != nil {
		return cannot("images", err)
	}
	volumes, err := api.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", LabelRole+"="+RoleModel))})
	if err != nil {
		return cannot("volumes", err)
	}
	var s engine.Stock
	for _, i := range made {
		out := engine.StockImage{ID: i.ID, Names: i.RepoTags, Bytes: i.Size}
		for _, c := range containers {
			if c.ImageID == i.ID {
				out.Containers++
			}
		}
		s.Images = append(s.Images, out)
	}
	for _, v := range volumes.Volumes {
		out := engine.StockVolume{Name: v.Name, Shows: v.Options["device"]}
		for _, c := range containers {
			for _, m := range c.Mounts {
				if m.Name == v.Name {
					out.Containers++
				}
			}
		}
		s.Volumes = append(s.Volumes, out)
	}
	return s, nil
}

// RemoveImage removes an image with all its names.
func RemoveImage(ctx context.Context, api *client.Client, id string) error {
	_, err := api.ImageRemove(ctx, id, image.RemoveOptions{Force: true, PruneChildren: true})
	return err
}

// RemoveVolume removes a volume that no container mounts.
func RemoveVolume(ctx context.Context, api *client.Client, name string) error {
	return api.VolumeRemove(ctx, name, false)
}
