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

// labelDevice is the label with the prefix of ggml's names for the server's GPUs.
const labelDevice = images.LabelDevice

func runLabels(r checkedRun, gpus, device string, flags []string) map[string]string {
	if flags == nil {
		flags = []string{}
	}
	applied, err := json.Marshal(flags)
	if err != nil {
		applied = []byte("[]") // A list of strings always marshals.
	}
	l := map[string]string{engine.LabelModel: r.ref.Raw, engine.LabelFlags: string(applied)}
	if len(r.attached.files) > 0 {
		if files, err := json.Marshal(r.attached.files); err == nil { // they always marshal
			l[engine.LabelFiles] = string(files)
		}
	}
	if len(r.companions) > 0 {
		if all, err := json.Marshal(r.companions); err == nil { // they always marshal
			l[engine.LabelCompanions] = string(all)
		}
	}
	if gpus != "" {
		l[engine.LabelDeviceMask], l[labelDevice] = gpus, device
	}
	return l
}

// describe makes the handoff of a ready server, from its container and its /props.
func describe(ctx context.Context, i engine.Server) (handoff.Handoff, error) {
	props, err := health.AskProps(ctx, nil, i.URL)
	if err != nil && ctx.Err() != nil {
		return handoff.Handoff{}, context.Cause(ctx)
	}
	// A server that does not report its version is named by its image.
	l := i.Labels
	version := props.BuildInfo
	// Trees before May 2025 ask git for their version while they are compiled. The build has
	// no .git folder, so they report none.
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
	files, err := filesOf(i)
	if err != nil {
		return handoff.Handoff{}, err
	}
	companions, err := companionsOf(i)
	if err != nil {
		return handoff.Handoff{}, err
	}
	return handoff.Handoff{
		Engine: handoff.EngineLlamaCPP, EngineVersion: version, ProvisioningMode: mode,
		URL: i.URL, PoolID: i.Pool, ReplicaID: i.Replica,
		Model:     handoff.Model{ID: l[engine.LabelModel], Path: i.ModelPath, Companions: companions},
		Flags:     flags,
		Files:     files,
		Schema:    handoff.Schema,
		Image:     handoff.Image{Ref: i.ImageRef, ID: i.Image, Recipe: l[images.LabelRecipe]},
		Container: handoff.Container{ID: i.ID, Name: i.Name}, SlotsTotal: props.TotalSlots,
		DeviceMask: l[engine.LabelDeviceMask], RunDigest: i.RunDigest, Commit: l[images.LabelCommit],
		StartedAt: i.State.StartedAt.UTC(), ReadyAt: time.Now().UTC(),
	}, nil
}

// companionsOf are what belongs to the model that a server serves.
func companionsOf(i engine.Server) ([]handoff.Companion, error) {
	text := i.Labels[engine.LabelCompanions]
	if text == "" {
		return nil, nil
	}
	var all []engine.Companion
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, errors.New("the container " + i.Name + " has no readable label " + engine.LabelCompanions)
	}
	var out []handoff.Companion
	for _, c := range all {
		out = append(out, handoff.Companion{Kind: string(c.Kind), Ref: c.Ref, Path: c.Path, Size: c.Size, SHA256: c.SHA256, Scale: c.Scale})
	}
	return out, nil
}

// filesOf are the files that a server reads beside its model.
func filesOf(i engine.Server) ([]handoff.File, error) {
	text := i.Labels[engine.LabelFiles]
	if text == "" {
		return nil, nil
	}
	var files []engine.File
	if err := json.Unmarshal([]byte(text), &files); err != nil {
		return nil, errors.New("the container " + i.Name + " has no readable label " + engine.LabelFiles)
	}
	var out []handoff.File
	for _, f := range files {
		out = append(out, handoff.File{Path: f.Host, ServerPath: f.Path})
	}
	return out, nil
}
