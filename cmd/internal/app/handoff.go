package app

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/health"
)

// labelDevice begins ggml's names of the GPUs in a server's mask.
const labelDevice = images.LabelDevice

func runLabels(r request, gpus, device string, flags []string) map[string]string {
	if flags == nil {
		flags = []string{}
	}
	applied, err := json.Marshal(flags)
	if err != nil {
		applied = []byte("[]") // Strings always marshal.
	}
	l := map[string]string{engine.LabelModel: r.ref.Raw, engine.LabelFlags: string(applied)}
	if gpus != "" {
		l[engine.LabelDeviceMask], l[labelDevice] = gpus, device
	}
	return l
}

// describe is the handoff of a ready server, from its container and its own word.
func describe(ctx context.Context, i engine.Server) (handoff.Handoff, error) {
	props, err := health.AskProps(ctx, nil, i.URL)
	if err != nil && ctx.Err() != nil {
		return handoff.Handoff{}, context.Cause(ctx)
	}
	// A server that is ready but does not say what it is, is named by its image.
	l := i.Labels
	version := props.BuildInfo
	// Trees that ask git for their version while they are compiled, as those before
	// May 2025 do, find none: git's folder does not travel with the tree.
	if strings.HasSuffix(version, "-unknown") {
		version = ""
	}
	mode := handoff.ModeContainer
	if commit := l[images.LabelCommit]; commit != "" {
		mode = handoff.ModeSource
		if version == "" {
			ref := l[images.LabelRef]
			if ref == "" || ref == "HEAD" {
				ref = commit // HEAD names nothing.
			}
			version = "llamacpp-source:" + ref + "-" + images.FamilyOf(l[images.LabelVariant])
		}
	}
	if version == "" {
		version = i.ImageRef
	}
	var flags []string
	if err := json.Unmarshal([]byte(l[engine.LabelFlags]), &flags); err != nil {
		return handoff.Handoff{}, errors.New("the container " + i.Name + " has no readable label " + engine.LabelFlags)
	}
	return handoff.Handoff{
		Engine: handoff.EngineLlamaCPP, EngineVersion: version, ProvisioningMode: mode,
		URL: i.URL, PoolID: i.Pool, ReplicaID: i.Replica,
		Model:     handoff.Model{ID: l[engine.LabelModel], Path: i.ModelPath},
		Flags:     flags,
		Schema:    handoff.Schema,
		Image:     handoff.Image{Ref: i.ImageRef, ID: i.Image, Recipe: l[images.LabelRecipe]},
		Container: handoff.Container{ID: i.ID, Name: i.Name}, SlotsTotal: props.TotalSlots,
		DeviceMask: l[engine.LabelDeviceMask], RunDigest: i.RunDigest, Commit: l[images.LabelCommit],
		StartedAt: i.State.StartedAt.UTC(), ReadyAt: time.Now().UTC(),
	}, nil
}
