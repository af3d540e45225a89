package app

import (
	"context"
	"fmt"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/runtime/model"
)

// fits warns of a model that takes more memory than the server will have. It is no
// refusal: a part of a model can stay on disk, mapped, or off the GPU.
func (a *App) fits(ctx context.Context, d *Display, eng *dockerEngine, r request, onGPU bool, m model.Local) {
	need, err := model.Estimate(m.Path, r.Ctx, onGPU)
	if err != nil {
		return // A header that the estimate does not understand may be one that the server does.
	}
	info, err := eng.client.Info(ctx)
	if err != nil {
		return // The start says what is wrong with the engine.
	}
	have := info.MemTotal
	if r.memory > 0 && r.memory < have {
		have = r.memory
	}
	if more := need.RAM - have; more > 0 && have > 0 {
		d.notice(tooLarge("memory", need.RAM, have, r.Ctx) + a.smaller(ctx, m, more))
	}
	if host := hostGPU(ctx, eng.local && onGPU); host != nil {
		var vram int64
		for _, g := range host.Devices {
			vram += int64(g.MemoryMiB) << 20
		}
		if more := need.VRAM - vram; more > 0 && vram > 0 {
			d.notice(tooLarge("GPU memory", need.VRAM, vram, r.Ctx) + a.smaller(ctx, m, more))
		}
	}
}

func tooLarge(what string, need, have int64, tokens int) string {
	with := "the model's own context"
	if tokens > 0 {
		with = fmt.Sprintf("a context of %d", tokens)
	}
	return fmt.Sprintf("serving this model with %s takes about %s of %s, and there are %s: it may be slow, or not start; --ctx takes less",
		with, units.BytesSize(float64(need)), what, units.BytesSize(float64(have)))
}

// smaller names the nearest model of the same repository that would fit, as far as
// that can be told at once.
func (a *App) smaller(ctx context.Context, m model.Local, less int64) string {
	f, err := a.fetcher(nil)
	if err != nil {
		return ""
	}
	ref, err := f.Smaller(ctx, m, less)
	if err != nil {
		return ""
	}
	return ", and " + ref + " would fit"
}
