package llb

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
)

// checks are steps that test the finished image. If the builder cannot run the image's
// programs, the server is not started and a note says so.
func (b builder) checks(toolchain, image bkllb.State) (checks []bkllb.State, notes []string) {
	var driver []string
	if a := b.plan.Accelerator; a != nil {
		driver = a.Driver
	}
	whole := toolchain.Run(
		bkllb.Args([]string{"sh", "/llorch/check.sh"}),
		b.scripts(script{"check.sh", checkScript}),
		bkllb.AddEnv("DRIVER", strings.Join(driver, " ")),
		b.tools(),
		bkllb.AddMount("/image", image, bkllb.Readonly),
		bkllb.Network(bkllb.NetModeNone),
		b.named(StepCheck, "", b.titled("[check] the image has every library that it needs")),
	).AddMount("/out", bkllb.Scratch().Platform(b.platform))
	if !b.runs() {
		return []bkllb.State{whole}, []string{fmt.Sprintf("the server's start was not checked, because the builder cannot run %s", b.plan.Platform)}
	}
	starts := image.Run(
		bkllb.Args([]string{"/llorch/starts", b.plan.CPU.Level, images.Server}),
		bkllb.AddMount("/llorch", b.static(toolchain, script{"starts.c", startsSource}, "/starts", "[check] compile the program that starts the server"), bkllb.Readonly),
		bkllb.Network(bkllb.NetModeNone),
		b.named(StepCheck, "", b.titled("[check] the server starts in the image")),
	).Root()
	return []bkllb.State{whole, starts}, nil
}

// root is the state on which the image's own files are put, and the names of its layers
// above a base. A root made from packages uses those of the build base's distribution, so
// that programs compiled there find their libraries.
func (b builder) root() (bkllb.State, []string) {
	r := b.plan.Runtime
	switch {
	case !r.Made() && len(r.Packages) > 0:
		return b.install("[packages] install ", r.Base, nil, r.Packages), []string{"packages"}
	case !r.Made():
		return b.baseOn(b.platform, r.Base, "runtime base"), nil
	}
	args, alone := packageNames(r.Packages), packageNames(r.Files)
	if images.Pinned(r.Packages) {
		args, alone = nil, nil // The step takes every package in its folder.
	}
	opts := append([]bkllb.RunOption{
		bkllb.Args(append([]string{"sh", "/llorch/runtime.sh"}, args...)),
		bkllb.AddEnv("ALONE", strings.Join(alone, " ")),
		b.scripts(script{"runtime.sh", runtimeScript}, script{"apt.sh", aptScript}),
		b.named(StepToolchain, "", b.titled("[runtime] files of "+titleOf(slices.Concat(r.Packages, r.Files)))),
	}, b.forImage().packagesFor(b.plan.Build, r.Packages)...)
	run := b.base(b.plan.Build).Run(opts...)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform)), []string{"runtime"}
}

// probe is the static health probe. It does not depend on llama.cpp, so it is compiled
// once per toolchain.
func (b builder) probe(toolchain bkllb.State) bkllb.State {
	return b.static(toolchain, script{"probe.c", probeSource}, "/image"+images.Probe, "[probe] compile the health probe")
}

// static compiles a program of ours that needs no files at run time.
func (b builder) static(toolchain bkllb.State, source script, out, title string) bkllb.State {
	run := toolchain.Run(
		bkllb.Args([]string{"sh", "/llorch/static.sh", "/llorch/" + source.name, "/out" + out}),
		b.scripts(script{"static.sh", staticScript}, source),
		b.tools(),
		bkllb.Network(bkllb.NetModeNone),
		bkllb.WithCustomName(b.titled(title)),
	)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// image assembles the runtime image on a root. Each thing that changes at its own pace gets
// a layer: first a GPU's libraries and the backends, some of which weigh hundreds of
// megabytes, and last the server. layers are the names of the root's own layers.
//
// Each step makes a tree with exactly the files of its layer, times included. Trees that are
// merged side by side (MergeOp) give equal layers whenever they are built. A copy onto the
// layers below would also add the folders that it touches, with the time of the build. A
// builder without MergeOp has to copy.
func (b builder) image(root bkllb.State, layers []string, tree bkllb.State, accelerator *bkllb.State, compiled map[string]bkllb.State, probe bkllb.State) (bkllb.State, []string) {
	dir := &bkllb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true}
	st, side := root, []bkllb.State{root}
	add := func(name string, from bkllb.State, src string) {
		onto := st
		if b.caps.Merge {
			onto = bkllb.Scratch().Platform(b.platform)
		}
		st = onto.File(bkllb.Copy(from, src, "/", dir), bkllb.WithCustomName("[image] "+name))
		layers, side = append(layers, name), append(side, st)
	}
	add("health probe", probe, "/image")
	add("licences", tree, "/image")
	if accelerator != nil && len(b.plan.Accelerator.Libraries) > 0 {
		add(b.plan.Accelerator.Device+" libraries", b.libraries(*accelerator), "/")
	}
	if len(b.opt.Lock) > 0 {
		add("lock", b.placed(script{"llorch.lock", string(b.opt.Lock)}, LockPath), "/image")
	}
	for _, part := range b.byWeight() {
		// Parts that give objects have them linked into another part's library.
		if len(part.Objects) == 0 {
			add(part.Name, compiled[part.Name], "/image")
		}
	}
	if b.caps.Merge {
		st = bkllb.Merge(side, bkllb.WithCustomName("[image] merge the layers"))
	}
	return st, layers
}

// placed puts a file of ours at its path in the image, with fixed mode and time.
func (b builder) placed(file script, to string) bkllb.State {
	run := b.base(b.plan.Build).Run(
		bkllb.Args([]string{"sh", "/llorch/place.sh", "/llorch/" + file.name, "/out/image" + to}),
		b.scripts(script{"place.sh", placeScript}, file),
		bkllb.Network(bkllb.NetModeNone),
		bkllb.WithCustomName("[place] "+to),
	)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// libraries copies the libraries of the accelerator's toolchain that the image needs, and
// their licences. They change only with the toolchain.
func (b builder) libraries(accelerator bkllb.State) bkllb.State {
	a := b.plan.Accelerator
	run := accelerator.Run(
		bkllb.Args(append([]string{"sh", "/llorch/libraries.sh", images.AppDir}, a.Libraries...)),
		b.scripts(script{"libraries.sh", librariesScript}),
		bkllb.Network(bkllb.NetModeNone),
		bkllb.WithCustomName("[libraries] "+strings.Join(a.Libraries, " ")),
	)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// byWeight sorts the parts in the order of their layers: GPU backends, the CPU backend,
// ggml's core, then the others in their order.
func (b builder) byWeight() []images.Part {
	parts := slices.Clone(b.plan.Parts)
	slices.SortStableFunc(parts, func(x, y images.Part) int { return cmp.Compare(weight(x), weight(y)) })
	return parts
}

func weight(p images.Part) int {
	switch {
	case p.Name == images.CPUBackend.Name:
		return 1
	case strings.HasPrefix(p.Name, "ggml-"):
		return 0
	case p.Name == "ggml":
		return 2
	}
	return 3
}
