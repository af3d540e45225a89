// Command bench compares builds of llama.cpp: with llorch-bk, and with the steps of
// llama.cpp's own Dockerfile on the same base, commit, builder and cores. It writes a table of
// times and ratios. It needs root, Linux and runc, and takes about half an hour on two cores.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/llorch/llorch-bk/fixtures/buildkitd"
	"github.com/llorch/llorch-bk/fixtures/llamasrc"
)

func main() {
	out := flag.String("o", "bin/bench-build.md", "file for the table")
	only := flag.String("only", "", "cases to run, by comma; speed and serving take what official and portable built, warm what portable did")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *out, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, only string) error {
	dir, err := os.MkdirTemp("", "llorch-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, table: newTable(ctx, out)}
	defer b.close()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, c := range cases {
		if only != "" && !strings.Contains(","+only+",", ","+c.name+",") {
			continue
		}
		fmt.Printf("== %s: %s\n", c.name, c.what)
		if err := c.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := b.table.write(); err != nil {
			return err
		}
	}
	b.table.print(os.Stdout)
	return nil
}

// bench is one run: a source to edit, a builder that can be emptied, a registry.
type bench struct {
	dir      string
	repo     string
	builder  *buildkitd.Daemon
	registry *registryServer
	table    *table
}

func (b *bench) prepare(ctx context.Context) error {
	bundle, err := bundleOf(ctx, llamasrc.Pinned)
	if err != nil {
		return err
	}
	b.repo = filepath.Join(b.dir, "llama.cpp")
	if err := command(ctx, "", "git", "clone", "--quiet", bundle, b.repo); err != nil {
		return err
	}
	if b.registry, err = serveRegistry(ctx, filepath.Join(b.dir, "registry")); err != nil {
		return err
	}
	b.builder, err = buildkitd.Start(ctx, b.dir)
	return err
}

// empty restarts the builder without data, as on an ephemeral runner.
func (b *bench) empty(ctx context.Context) error {
	b.builder.Remove()
	var err error
	b.builder, err = buildkitd.Start(ctx, b.dir)
	return err
}

func (b *bench) close() {
	if b.builder != nil {
		b.builder.Remove()
	}
	if b.registry != nil {
		b.registry.close()
	}
}

// edit changes one line of code in a file and commits it. The line differs each time.
func (b *bench) edit(ctx context.Context, file string, n int) error {
	path := filepath.Join(b.repo, filepath.FromSlash(file))
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("extern \"C\" int llorch_bench_%d(void); int llorch_bench_%d(void) { return %d; }\n", n, n, n)
	if strings.HasSuffix(file, ".c") {
		line = fmt.Sprintf("int llorch_bench_%d(void); int llorch_bench_%d(void) { return %d; }\n", n, n, n)
	}
	if err := os.WriteFile(path, append(data, line...), 0o644); err != nil {
		return err
	}
	return command(ctx, b.repo, "git", "-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit", "--quiet", "-am", "change "+file)
}

// restore returns to the release.
func (b *bench) restore(ctx context.Context) error {
	return command(ctx, b.repo, "git", "reset", "--quiet", "--hard", llamasrc.Pinned.Commit)
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
