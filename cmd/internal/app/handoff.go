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

// Labels that hold what a handoff says and the engine would not know, so that a
// handoff can be written again from the container alone.
const (
	labelModelRef   = "dev.llorch.model"
	labelFlags      = "dev.llorch.flags"
	labelDeviceMask = "dev.llorch.device-mask"
	// labelDevice begins ggml's names of the GPUs in the mask.
	labelDevice = images.LabelDevice
)

func runLabels(r request, gpus, device string, flags []string) map[string]string {
	if flags == nil {
		flags = []string{}
	}
	applied, err := json.Marshal(flags)
	if err != nil {
		applied = []byte("[]") // Strings always marshal.
	}
	l := map[string]string{labelModelRef: r.ref.Raw, labelFlags: string(applied)}
	if gpus != "" {
		l[labelDeviceMask], l[labelDevice] = gpus, device
	}
	return l
}

// writeHandoff writes the handoff of a server that was just proven ready. One
// that says the truth already is left as it is: some readers take a path once.
func writeHandoff(ctx context.Context, eng *dockerEngine, i *engine.Instance) (Running, error) {
	old, err := handoff.Read(i.Handoff)
	if err == nil && old.Container.ID == i.ID && old.URL == i.URL && old.StartedAt.Equal(i.State.StartedAt.Truncate(time.Second)) {
		return Running{Handoff: old, HandoffPath: i.Handoff}, nil
	}
	h, err := describe(ctx, i)
	if err != nil {
		return Running{}, err
	}
	if i.Labels[labelDeviceMask] != "" {
		if h.GPU, err = proveGPU(ctx, eng, i); err != nil {
			return Running{}, err
		}
	}
	h.EngineHost = eng.remote()
	path, err := handoff.Write(i.Project, h)
	return Running{Handoff: h, HandoffPath: path}, err
}

// describe is the handoff of a ready server, from its container and its own word.
func describe(ctx context.Context, i *engine.Instance) (handoff.Handoff, error) {
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
	if err := json.Unmarshal([]byte(l[labelFlags]), &flags); err != nil {
		return handoff.Handoff{}, errors.New("the container " + i.Name + " has no readable label " + labelFlags)
	}
	return handoff.Handoff{
		Engine: handoff.EngineLlamaCPP, EngineVersion: version, ProvisioningMode: mode,
		URL: i.URL, PoolID: i.Pool, ReplicaID: i.Replica,
		Model:     handoff.Model{ID: l[labelModelRef], Path: i.ModelPath},
		Flags:     flags,
		Schema:    handoff.Schema,
		Image:     handoff.Image{Ref: i.ImageRef, ID: i.Image, Recipe: l[images.LabelRecipe]},
		Container: handoff.Container{ID: i.ID, Name: i.Name}, SlotsTotal: props.TotalSlots,
		DeviceMask: l[labelDeviceMask], RunDigest: i.RunDigest, Commit: l[images.LabelCommit],
		StartedAt: i.State.StartedAt.UTC(), ReadyAt: time.Now().UTC(),
	}, nil
}
