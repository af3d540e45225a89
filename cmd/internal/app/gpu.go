package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/doctor"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/gpu"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/pool"
)

// hostGPU asks this machine's driver for its GPUs. It is nil for an engine on another
// machine, whose driver cannot be asked from here.
func hostGPU(ctx context.Context, local bool) *images.GPUFacts {
	if !local {
		return nil
	}
	f := gpu.Read(ctx, gpu.Host{})
	return &f
}

// deviceOf is the prefix of ggml's names for the GPUs that an image uses. For images from
// elsewhere that are given a GPU it assumes CUDA.
func deviceOf(img imageOf) string {
	return cmp.Or(img.Labels[images.LabelDevice], "CUDA")
}

// findGPU verifies, within seconds and before a model is loaded, that the image's server
// sees the GPUs that spec asks for.
func findGPU(ctx context.Context, s *Step, eng engine.Prober, local bool, spec engine.Spec, labels map[string]string) error {
	found, err := eng.Devices(ctx, spec)
	if err != nil {
		return withHost(err, spec.Device, hostGPU(ctx, local))
	}
	e := gpu.Look(spec.Device, found.Lines)
	if len(e.Devices) > 0 {
		for _, dev := range e.Devices {
			s.Note(dev.Name + " " + dev.Description)
		}
		return nil
	}
	library := images.AppDir + "/libggml-" + strings.ToLower(spec.Device) + ".so"
	return noGPU("the server does not find the GPU", labels, gpu.Circumstances{
		Evidence: e, Linked: eng.Linked(ctx, spec, library), Host: hostGPU(ctx, local), Asked: spec.GPUs,
		// An engine without GPUs to give refuses a CUDA request.
		Given: spec.Device == "CUDA" || found.Given,
	}).WithLines(found.Lines)
}

// withHost adds what this machine lacks to an engine's refusal: that is usually its cause.
func withHost(err error, device string, host *images.GPUFacts) error {
	var f *fault.Fault
	if device != "CUDA" || !errors.As(err, &f) || f.Class != fault.Engine || host == nil || host.Why == "" || len(host.Devices) > 0 {
		return err
	}
	more := *f
	more.Why = errors.Join(errors.New(host.Why), f.Why)
	return &more
}

func noGPU(what string, labels map[string]string, c gpu.Circumstances) *fault.Fault {
	if archs := labels[images.LabelCUDAArchs]; archs != "" {
		c.Archs = strings.Split(archs, ";")
	}
	why, do := c.Explain()
	return fault.New(fault.Engine, what, errors.New(why), do)
}

// proofPatience bounds the time until the lines of a ready server appear in the engine's
// log. Tests shorten it.
var proofPatience = 5 * time.Second

// proveGPU reads the proof that a ready server uses its GPU from the server's log. Without
// that proof the error has the cause pool.NoGPU.
func proveGPU(ctx context.Context, eng engine.Follower, local bool, i engine.Server) (*handoff.GPU, error) {
	device := cmp.Or(i.Labels[labelDevice], "CUDA")
	var e gpu.Evidence
	for deadline := time.Now().Add(proofPatience); ; {
		lines, err := engine.StartLines(ctx, eng, i)
		if err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		e = gpu.Look(device, lines)
		if e.Proven() || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
	if !e.Proven() {
		f := noGPU("the server is healthy, but does not use the GPU", i.Labels, gpu.Circumstances{
			Evidence: e, Host: hostGPU(ctx, local), Given: true, Asked: i.Labels[engine.LabelDeviceMask],
		})
		return nil, pool.Because(f.WithLines(append(slices.Clone(e.Lines), e.Trouble...)), pool.NoGPU)
	}
	out := &handoff.GPU{Backend: e.Backend, Evidence: e.Lines}
	for _, dev := range e.Devices {
		out.Devices = append(out.Devices, handoff.Device(dev))
	}
	return out, nil
}

// gpuBefore fails before compiling for a GPU that this machine does not have, if the server
// is to use one afterwards.
func gpuBefore(ctx context.Context, eng *dockerEngine, r images.Request, opt RunOptions) error {
	if images.DeviceOf(r.Variant) != "CUDA" || opt.GPUs == "none" || opt.AllowCPU || !eng.local {
		return nil
	}
	facts, err := eng.servers(nil).Facts(ctx)
	if err != nil || facts.NVIDIA {
		return err
	}
	if host := hostGPU(ctx, true); host.Driver == "" && len(host.Devices) == 0 {
		return fault.New(fault.Engine, "the engine has no NVIDIA GPU", errors.New(host.Why),
			"install its driver and NVIDIA's container toolkit (see llorch-bk doctor), run on the CPU with `allow-cpu`, or only build with llorch-bk build")
	}
	return nil
}

// gpuFindings reports mismatches between this machine's GPUs and the images that were built
// for GPUs.
func (a *App) gpuFindings(ctx context.Context) ([]doctor.Finding, error) {
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, interrupted(ctx, nil) // Another finding reports the missing engine.
	}
	defer eng.Close()
	host := hostGPU(ctx, eng.local)
	if host == nil || len(host.Devices) == 0 {
		return nil, nil
	}
	found, err := eng.images(ctx, images.LabelCUDA)
	if err != nil {
		return nil, fmt.Errorf("cannot list the GPU images: %w", err)
	}
	var built []doctor.GPUImage
	for _, img := range found {
		built = append(built, doctor.GPUImage{Ref: img.Ref, CUDA: img.Labels[images.LabelCUDA], Archs: strings.Split(img.Labels[images.LabelCUDAArchs], ";")})
	}
	return doctor.GPUFindings(*host, built), nil
}
