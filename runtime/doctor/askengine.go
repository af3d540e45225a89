package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/system"
)

// EngineAPI is the part of the Docker client that describes an engine.
type EngineAPI interface {
	ServerVersion(ctx context.Context) (types.Version, error)
	Info(ctx context.Context) (system.Info, error)
}

// AskEngine asks an engine for its version and features.
func AskEngine(ctx context.Context, api EngineAPI) (EngineInfo, error) {
	v, err := api.ServerVersion(ctx)
	if err != nil {
		return EngineInfo{}, err
	}
	info, err := api.Info(ctx)
	if err != nil {
		return EngineInfo{}, fmt.Errorf("cannot ask the engine for its features: %w", err)
	}
	e := EngineInfo{
		Version: v.Version, API: v.APIVersion, OSType: info.OSType,
		Rootless: slices.Contains(info.SecurityOptions, "name=rootless"),
		Runtimes: slices.Sorted(maps.Keys(info.Runtimes)),
	}
	for _, d := range info.DiscoveredDevices {
		e.CDI = append(e.CDI, d.ID)
	}
	return e, nil
}
