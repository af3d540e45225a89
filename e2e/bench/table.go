package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/fixtures/llamasrc"
)

// table collects results by row, and compares some of them.
type table struct {
	path, buildkit string

	times map[string]time.Duration
	sizes map[string][2]int64
	rates map[string][2]float64
	// jobs are our seconds, theirs, and the ratio of speeds.
	jobs  map[string][3]float64
	notes map[string]string
	order []string
}

func newTable(ctx context.Context, path string) *table {
	return &table{path: path, buildkit: buildkitVersion(ctx), times: map[string]time.Duration{}, sizes: map[string][2]int64{}, rates: map[string][2]float64{}, jobs: map[string][3]float64{}, notes: map[string]string{}}
}

func (t *table) set(row string, d time.Duration) {
	if _, ok := t.times[row]; !ok {
		t.order = append(t.order, row)
	}
	t.times[row] = d
}

// size adds two sizes; less is better.
func (t *table) size(row string, ours, theirs int64) { t.sizes[row] = [2]int64{ours, theirs} }
func (t *table) note(row, text string)               { t.notes[row] = text }

// rate adds two speeds; more is better.
func (t *table) rate(row string, ours, theirs float64) { t.rates[row] = [2]float64{ours, theirs} }

// job adds the seconds of a job and the ratio of our speed to theirs.
func (t *table) job(row string, ours, theirs, ratio float64) {
	t.jobs[row] = [3]float64{ours, theirs, ratio}
}

// against lists which row of theirs each row of ours is compared with, and the maximum ratio.
var against = []struct {
	row, official string
	bar           float64
}{
	{"cold, all CPU variants", "official, cold", 0.70},
	{"cold, all CPU variants", "official, cold, server only", 0.85},
	{"cold, --cpu native", "official, cold", 0.35},
	// Compared with ours for this machine's own architecture.
	{crossCold, "cold, all CPU variants", 1.20},
	{"one line in tools/server, same machine", "official, again after any change", 0.05},
	{"one line in common/, same machine", "official, again after any change", 0.35},
	{"one line in src/, same machine", "official, again after any change", 0.35},
	{"one line in the CPU backend, same machine", "official, again after any change", 0.35},
	{"one line in tools/server, empty builder", "official, cold", 0.10},
	{"one line in common/, empty builder", "official, cold", 0.10},
	{"one line in src/, empty builder", "official, cold", 0.10},
	{"one line in the CPU backend, empty builder", "official, cold", 0.10},
	{"from v0.4.0 to v0.5.0, empty builder", "official, cold", 0.40},
}

func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "llama.cpp %s (%s), %d cores, %s, buildkitd %s, %s\n\n", llamasrc.Pinned.Release, llamasrc.Pinned.Commit[:7], runtime.NumCPU(), cpuModel(), t.buildkit, time.Now().UTC().Format(time.DateOnly))
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "case\tours\tllama.cpp's own\tratio\tbar\tcompiled")
	for _, c := range against {
		ours, ok := t.times[c.row]
		theirs, ok2 := t.times[c.official]
		if ok && ok2 {
			fmt.Fprintf(tw, "%s\t%.1f s\t%.1f s (%s)\t%.3f\t%.2f\t%s\n", c.row, ours.Seconds(), theirs.Seconds(), strings.TrimPrefix(c.official, "official, "), ours.Seconds()/theirs.Seconds(), c.bar, t.notes[c.row])
		}
	}
	for _, row := range t.order {
		if strings.HasPrefix(row, "nothing") || strings.HasPrefix(row, "filling") {
			bar := ""
			if strings.HasSuffix(row, "--locked") {
				bar = "at most 2 s"
			}
			fmt.Fprintf(tw, "%s\t%.1f s\t\t\t%s\n", row, t.times[row].Seconds(), bar)
		}
	}
	for _, row := range slices.Sorted(maps.Keys(t.rates)) {
		r := t.rates[row]
		fmt.Fprintf(tw, "%s\t%.1f\t%.1f\t%.3f\tat least 0.98\n", row, r[0], r[1], r[0]/r[1])
	}
	for _, row := range slices.Sorted(maps.Keys(t.jobs)) {
		j := t.jobs[row]
		fmt.Fprintf(tw, "%s, middle of %d\t%.1f ms\t%.1f ms\t%.3f\tat least 0.98\n", row, servingRounds, j[0]*1000, j[1]*1000, j[2])
	}
	for _, row := range slices.Sorted(maps.Keys(t.sizes)) {
		s := t.sizes[row]
		bar := "0.33"
		if strings.Contains(row, "without") {
			bar = ""
		}
		fmt.Fprintf(tw, "%s\t%.1f MB\t%.1f MB\t%.3f\t%s\n", row, float64(s[0])/1e6, float64(s[1])/1e6, float64(s[0])/float64(s[1]), bar)
	}
	_ = tw.Flush()
}

func (t *table) write() error {
	var b bytes.Buffer
	t.print(&b)
	if err := os.MkdirAll(filepath.Dir(t.path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(t.path, b.Bytes(), 0o644)
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, " \t:\n")
		}
	}
	return runtime.GOARCH
}

func buildkitVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/moby/buildkit").Output()
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(out))
}
