package buildkit

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commonexptypes "github.com/moby/buildkit/exporter/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"golang.org/x/sync/errgroup"
)

// made is one platform's image in a build.
type made struct {
	plan  images.Plan
	graph llb.Graph
	image *gateway.Result
	// notes are remarks about how the image was compiled.
	notes []string
	// stated are the image's attestations.
	stated []gateway.Attestation
}

// plans are a job's plans, one for each platform.
func (j Job) plans() []images.Plan { return append([]images.Plan{j.Plan}, j.Others...) }

// platformsIn are the platforms of plans.
func platformsIn(plans []images.Plan) []string {
	out := make([]string, len(plans))
	for i, p := range plans {
		out[i] = p.Platform
	}
	return out
}

// makeImages solves a job's graphs concurrently. Common steps run once.
func (b *Builder) makeImages(ctx context.Context, gw gateway.Client, j Job, opt llb.Options, t *tail) ([]made, error) {
	all := make([]made, 0, 1+len(j.Others))
	for _, p := range j.plans() {
		g, err := llb.Build(p, j.Capabilities, opt)
		if err != nil {
			return nil, err
		}
		if !b.OneAtATime(j.Capabilities) {
			g.Stages = nil // Solving the image solves them concurrently.
		}
		all = append(all, made{plan: p, graph: g})
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range all {
		group.Go(func() error { return all[i].solve(ctx, gw, j, t) })
	}
	return all, group.Wait()
}

func (m *made) solve(ctx context.Context, gw gateway.Client, j Job, t *tail) error {
	var err error
	if m.image, err = solveGraph(ctx, gw, m.graph, j.Caches.requests(), t.knows); err != nil {
		return err
	}
	if m.notes, err = readNotes(ctx, m.image); err != nil {
		return err
	}
	m.notes = append(m.notes, m.graph.Notes...)
	if !j.Output.Attest {
		return nil
	}
	m.stated, err = statements(ctx, gw, m.plan, m.graph, m.image)
	return err
}

// together combines the images into one result. Exporters turn several images into an
// index. The result has each image's config, because the exporters of all engines read it.
func together(all []made) (*gateway.Result, error) {
	out, suffix := all[0].image, ""
	if len(all) > 1 {
		out = gateway.NewResult()
	}
	var list exptypes.Platforms
	for _, m := range all {
		if len(all) > 1 {
			ref, err := m.image.SingleRef()
			if err != nil {
				return nil, err
			}
			out.AddRef(m.plan.Platform, ref)
			list.Platforms = append(list.Platforms, exptypes.Platform{ID: m.plan.Platform, Platform: *platformOf(m.plan.Platform)})
			suffix = "/" + m.plan.Platform
		}
		out.AddMeta(exptypes.ExporterImageConfigKey+suffix, m.graph.Config)
		for _, s := range m.stated {
			out.AddAttestation(m.plan.Platform, s)
		}
	}
	if len(all) > 1 {
		data, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		out.AddMeta(exptypes.ExporterPlatformsKey, data)
	}
	if epoch := all[0].graph.Epoch; !epoch.IsZero() {
		// Otherwise an image's history has the times at which its layers were built.
		out.AddMeta(commonexptypes.ExporterEpochKey, []byte(strconv.FormatInt(epoch.Unix(), 10)))
	}
	return out, nil
}

// notesOf collects the images' notes, with their platform if there are several.
func notesOf(all []made) []string {
	var out []string
	for _, m := range all {
		for _, note := range m.notes {
			if len(all) > 1 {
				note = m.plan.Platform + ": " + note
			}
			out = append(out, note)
		}
	}
	return out
}
