package app

import (
	"context"
	"fmt"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// runner carries a run from the model to the server.
type runner struct {
	a   *App
	d   *Display
	eng *dockerEngine
	r   checkedRun
	// offline forbids network requests for the model.
	offline bool
	// onGPU is true if the server will use a GPU.
	onGPU bool
	// said is true once the warning about the model's size was shown. It is shown once: as
	// soon as the header was read, else when the model is complete.
	said bool
	// models is the store that holds the model against removal.
	models *store.Store
}

// release ends what keeps the model from being removed: its container does, from the
// moment when it is there.
func (w *runner) release() {
	if w.models != nil {
		w.models.Release()
	}
}

// fetch downloads the model and its companions, unless they are on this host, and records
// the project as a user.
func (w *runner) fetch(ctx context.Context) (model.Local, error) {
	f, err := w.a.fetcher(modelProgress{w.d})
	if err != nil {
		return model.Local{}, err
	}
	f.Environment.Roots, f.By, f.Early = w.r.roots, w.r.HandoffDir, w.fits
	f.Environment.Offline = f.Environment.Offline || w.offline
	w.models = f.Store
	l, err := f.Fetch(ctx, w.r.ref)
	if err != nil {
		return l, err
	}
	if err := l.Examine(); err != nil {
		return l, err
	}
	f.Early = nil // what comes next is no model to be served alone
	w.r, err = w.r.accompany(ctx, f, l)
	return l, err
}

// fits warns if the model needs more memory than the server will have. It does not refuse:
// parts of a model can stay on disk (mmap) or off the GPU.
func (w *runner) fits(ctx context.Context, h model.Header) {
	if w.said {
		return
	}
	need, err := h.Need(w.r.Ctx, w.onGPU)
	if err != nil {
		return // The server may understand a header that the estimate does not.
	}
	facts, err := w.eng.servers(nil).Facts(ctx)
	if err != nil {
		return // Starting the server reports what is wrong with the engine.
	}
	have := facts.Memory
	if w.r.memory > 0 && w.r.memory < have {
		have = w.r.memory
	}
	if more := need.RAM - have; more > 0 && have > 0 {
		w.say(ctx, "memory", need.RAM, have, h)
	}
	if host := hostGPU(ctx, w.eng.local && w.onGPU); host != nil {
		var vram int64
		for _, g := range host.Devices {
			vram += int64(g.MemoryMiB) << 20
		}
		if more := need.VRAM - vram; more > 0 && vram > 0 {
			w.say(ctx, "GPU memory", need.VRAM, vram, h)
		}
	}
}

func (w *runner) say(ctx context.Context, what string, need, have int64, h model.Header) {
	w.said = true
	w.d.notice(tooLarge(what, need, have, w.r.Ctx) + w.a.smaller(ctx, h, need-have))
}

func tooLarge(what string, need, have int64, tokens int) string {
	with := "the model's own context"
	if tokens > 0 {
		with = fmt.Sprintf("a context of %d", tokens)
	}
	return fmt.Sprintf("the model may not fit: with %s it needs about %s of %s, and %s are available; it may be slow or fail to start; a smaller `ctx` needs less",
		with, units.BytesSize(float64(need)), what, units.BytesSize(float64(have)))
}

// smaller names the next smaller model of the same repository that would fit, if that can
// be told without a download.
func (a *App) smaller(ctx context.Context, h model.Header, less int64) string {
	f, err := a.fetcher(nil)
	if err != nil {
		return ""
	}
	ref, err := f.Smaller(ctx, h, less)
	if err != nil {
		return ""
	}
	return ", and " + ref + " would fit"
}
