package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/llorch/llorch-bk/llb/objects"
)

// aCase measures one or several rows of the table.
type aCase struct {
	name, what string
	run        func(ctx context.Context, b *bench) error
}

var cases = []aCase{
	{"official", "llama.cpp's own steps, cold, all of them and the server alone", officialCold},
	{"native", "ours, cold, this machine's CPU level", func(ctx context.Context, b *bench) error {
		return b.cold(ctx, "cold, --cpu native", "native", nil)
	}},
	{"portable", "ours, cold, every CPU backend", func(ctx context.Context, b *bench) error {
		return b.cold(ctx, "cold, all CPU variants", "portable", nil)
	}},
	{"speed", "what was built: weight and tokens per second", speed},
	{"serving", "what was built: a server's work beside matrix products", serving},
	{"warm", "ours, on the same machine: nothing changed, then one line in each part", warm},
	{"runner", "ours on an empty builder with a registry: from the release before, then one line in each part", runner},
	{"locked", "ours, from a lock with everything there", locked},
	// Last, because this machine cannot run its image.
	{"cross", "ours, cold, every CPU backend of the architecture that this machine is not", func(ctx context.Context, b *bench) error {
		other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
		return b.cold(ctx, crossCold, "portable", []string{"--platform", "linux/" + other})
	}},
}

// crossCold is the row of a cross-compiled image.
const crossCold = "cold, all CPU variants, cross-compiled"

// parts are the files in which a line is changed, with the part that they belong to.
var parts = []struct{ name, file string }{
	{"tools/server", "tools/server/server.cpp"},
	{"common/", "common/log.cpp"},
	{"src/", "src/llama-sampler.cpp"},
	{"the CPU backend", "ggml/src/ggml-cpu/vec.cpp"},
}

func officialCold(ctx context.Context, b *bench) error {
	if err := errors.Join(b.restore(ctx), b.empty(ctx)); err != nil {
		return err
	}
	// The server alone comes first, so that the full build is stored last.
	server, packages, err := b.official(ctx, true)
	if err != nil {
		return err
	}
	b.table.set("official, cold, server only", server)
	all, _, err := b.official(ctx, false)
	if err != nil {
		return err
	}
	// The packages are cached now, so add the time that they took before.
	b.table.set("official, cold", all+packages)
	b.table.set("official, again after any change", all)
	return nil
}

// ours runs llorch-bk on the bench's builder and returns the time and the steps that
// compiled.
func (b *bench) ours(ctx context.Context, cpu string, extra ...string) (time.Duration, []string, error) {
	// Without a network, llama.cpp's own steps leave the web UI out.
	return b.build(ctx, append([]string{"--no-ui", "--source", b.repo, "--ref", "HEAD", "--cpu", cpu}, extra...)...)
}

// build runs llorch-bk build with these flags.
func (b *bench) build(ctx context.Context, flags ...string) (time.Duration, []string, error) {
	metadata := filepath.Join(b.dir, "metadata.json")
	args := append([]string{"build", "--metadata-file", metadata, "--builder", b.builder.Addr, "--tag", "llorch-bench:ours", "--progress", "plain"}, flags...)
	cmd := exec.CommandContext(ctx, "bin/llorch-bk", args...)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil {
		return took, nil, fmt.Errorf("llorch-bk %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	var built struct {
		Steps []struct {
			Name    string
			Cached  bool
			Seconds float64
			Objects buildkit.Objects
		}
		Objects objects.Report
	}
	data, err := os.ReadFile(metadata)
	if err == nil {
		err = json.Unmarshal(data, &built)
	}
	if err != nil {
		return took, nil, err
	}
	var compiled []string
	var sum buildkit.Objects
	for _, s := range built.Steps {
		sum.Compiles, sum.Carried = sum.Compiles+s.Objects.Compiles, sum.Carried+s.Objects.Carried
		if s.Seconds >= 1 {
			fmt.Printf("   %7.1f s  %s\n", s.Seconds, s.Name)
		}
		if part, ok := strings.CutPrefix(s.Name, "[compile] "); ok && !s.Cached {
			part, _, _ = strings.Cut(part, " ")
			compiled = append(compiled, part)
		}
	}
	if sum.Carried > 0 {
		compiled = append(compiled, fmt.Sprintf("(%d of %d compiles from the registry, %.1f MB)", sum.Carried, sum.Compiles, float64(built.Objects.Pulled)/1e6))
	}
	fmt.Printf("   %.1f s, compiled: %s; %.1f MB of objects pushed\n", took.Seconds(), strings.Join(compiled, " "), float64(built.Objects.Pushed)/1e6)
	return took, compiled, nil
}

func (b *bench) cold(ctx context.Context, row, cpu string, extra []string) error {
	if err := errors.Join(b.restore(ctx), b.empty(ctx)); err != nil {
		return err
	}
	took, _, err := b.ours(ctx, cpu, extra...)
	if err != nil {
		return err
	}
	b.table.set(row, took)
	return nil
}

// warm follows portable, whose builder has everything cached.
func warm(ctx context.Context, b *bench) error {
	var times []time.Duration
	for range 3 {
		took, _, err := b.ours(ctx, "portable")
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	slices.Sort(times)
	b.table.set("nothing changed", times[1])
	for i, p := range parts {
		if err := errors.Join(b.restore(ctx), b.edit(ctx, p.file, i)); err != nil {
			return err
		}
		took, compiled, err := b.ours(ctx, "portable")
		if err != nil {
			return err
		}
		b.table.set("one line in "+p.name+", same machine", took)
		b.table.note("one line in "+p.name+", same machine", strings.Join(compiled, " "))
	}
	return b.restore(ctx)
}
