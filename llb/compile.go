package llb

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
)

// selected sorts a tree's files into a folder for each part that compiles them, and the
// licences into another. It runs for every commit and takes a moment. Later steps are keyed
// by the files that they receive. It uses the build base's own shell, so that it does not
// wait for the toolchain.
func (b builder) selected(source bkllb.State) bkllb.State {
	args := []string{"sh", "/llorch/select.sh"}
	for _, part := range b.plan.Parts {
		// A part without patterns mounts the whole tree instead.
		if len(part.Files) > 0 {
			args = append(append(args, "--", part.Name), part.Files...)
		}
	}
	if ui := b.plan.UI; ui != nil {
		args = append(append(args, "--", images.UIPart), ui.Files...)
	}
	// Later trees have a folder with the licences of bundled code.
	args = append(append(args, "--", "image/"+licences+"/llama.cpp"), b.plan.Source.Licences...)
	args = append(args, "licenses/*")
	return b.base(b.plan.Build).Run(
		bkllb.Args(args),
		b.scripts(script{"select.sh", selectScript}),
		bkllb.AddMount("/src", source, bkllb.Readonly),
		bkllb.Network(bkllb.NetModeNone),
		bkllb.WithCustomName("[source] sort the files by step"),
	).AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// licences is the folder of licences, in an image and in the result of selected.
const licences = "usr/share/licenses"

// compile configures, compiles and installs one part, without a network. Its result has
// the folders image, lend and obj, if there is content for them.
func (b builder) compile(toolchain, tree bkllb.State, ui *bkllb.State, part images.Part, compiled map[string]bkllb.State) bkllb.State {
	p, base := b.plan, b.partBase(part)
	args := append([]string{"sh", "/llorch/compile.sh", p.CMake.Generator}, p.CMake.Flags...)
	args = append(args, part.Flags...)
	opts := []bkllb.RunOption{
		bkllb.Args(args),
		b.scripts(script{"compile.sh", compileScript}, script{"launch.sh", launchScript}, script{"clang", signalScript}, script{"clang++", signalScript}, script{"lend.sh", lendScript}, script{"project.cmake", projectScript},
			script{"objects.sh", objectsScript}, script{"ask.pl", askScript}),
		b.partFiles(tree, part),
		bkllb.AddMount("/build", bkllb.Scratch(), bkllb.ForceNoOutput),
		bkllb.AddMount("/ccache", bkllb.Scratch(), bkllb.AsPersistentCacheDir("llorch-ccache-"+b.compilerScope(base), bkllb.CacheMountShared)),
		// All toolchains share one set of slots, because they share the machine's memory.
		bkllb.AddMount("/slots", bkllb.Scratch(), bkllb.AsPersistentCacheDir("llorch-slots", bkllb.CacheMountShared)),
		bkllb.AddSecret("/run/llorch/jobs", bkllb.SecretID(JobsSecret), bkllb.SecretOptional),
		bkllb.AddEnv("APP", images.AppDir),
		bkllb.AddEnv("NOTES", Notes),
		bkllb.AddEnv("LENT", strings.Join(part.Lent, ";")),
		bkllb.AddEnv("OBJECTS", strings.Join(part.Objects, " ")),
		bkllb.AddEnv("PART", part.Name),
		bkllb.AddEnv("RULES", rules(p.CMake.Rules)),
		bkllb.AddEnv("TARGETS", strings.Join(part.Targets, " ")),
		b.tools(),
	}
	if b.objects(part) {
		opts = append(opts, bkllb.AddEnv("STUBS", "1"))
	}
	if part.Link {
		opts = append(opts, bkllb.AddEnv("LIBRARIES", strings.Join(p.CMake.Libraries, " ")), bkllb.AddEnv("PROGRAMS", strings.Join(part.Programs, " ")))
		if ui != nil {
			// Trees of mid 2026 write compressed files beside these.
			opts = append(opts, bkllb.AddMount("/src/"+p.UI.Dist, *ui, bkllb.ForceNoOutput))
		}
	}
	if images.Pinned(p.Packages) {
		// Leftovers of an earlier build must not influence a locked one.
		opts = append(opts, bkllb.AddEnv("CCACHE_DISABLE", "1"))
	} else {
		opts = append(opts, b.carried(part)...)
	}
	for _, need := range part.Needs {
		opts = append(opts, bkllb.AddMount("/lent/"+need, compiled[need], bkllb.Readonly))
	}
	opts = append(opts,
		bkllb.Network(bkllb.NetModeNone),
		b.fresh(),
		b.named(StepCompile, part.Name, b.titled(strings.TrimSpace("[compile] "+part.Name+" "+b.what(part)))),
	)
	return toolchain.Run(opts...).AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// partBase is the base image that a part is compiled on.
func (b builder) partBase(part images.Part) images.BaseFacts {
	if part.Accelerated {
		return b.plan.Accelerator.Base
	}
	return b.plan.Build
}

// objects reports whether a part compiles only some objects of a library, or links the
// objects of such parts. Then it does not have all sources that CMake names.
func (b builder) objects(part images.Part) bool {
	return len(part.Objects) > 0 || slices.ContainsFunc(b.plan.Parts, func(p images.Part) bool {
		return len(p.Objects) > 0 && slices.Contains(part.Needs, p.Name)
	})
}

// rules formats the plan's rules for launch.sh, one per line. A dash stands for CMake's
// compiler.
func rules(all []images.CompileRule) string {
	var lines []string
	for _, r := range all {
		lines = append(lines, strings.TrimSpace(fmt.Sprint(r.Sources, " ", cmp.Or(r.Compiler, "-"), " ", r.Flags)))
	}
	return strings.Join(lines, "\n")
}

// partFiles mounts the files of a part. The mount is writable, because trees of 2025
// generate a file beside their sources. It has no output, so that it is keyed by content.
func (b builder) partFiles(tree bkllb.State, part images.Part) bkllb.RunOption {
	if len(part.Files) == 0 {
		return bkllb.AddMount("/src", b.source(), bkllb.ForceNoOutput)
	}
	return bkllb.AddMount("/src", tree, bkllb.SourcePath("/"+part.Name), bkllb.ForceNoOutput)
}

// what describes for a person what is special about a part.
func (b builder) what(part images.Part) string {
	switch {
	case part.Link:
		return b.plan.Source.Short
	case strings.HasPrefix(part.Name, images.CPUBackend.Name):
		return "for " + b.plan.CPU.Level
	case b.plan.CUDA != nil && part.Name == "ggml-cuda":
		return "for CUDA " + strings.Join(b.plan.CUDA.Archs, " ")
	}
	return ""
}
