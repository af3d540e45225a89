package app

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

var (
	monday  = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	tuesday = monday.AddDate(0, 0, 1)
)

func TestNoEngine(t *testing.T) {
	t.Parallel()
	a := &App{Getenv: func(name string) string {
		return map[string]string{"DOCKER_HOST": "unix:///no/such/docker.sock"}[name]
	}}
	if _, err := a.engine(t.Context()); fault.ClassOf(err) != fault.Machine {
		t.Errorf("error = %v, want a fault.Machine", err)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	f := startEngine(t)
	eng := f.connect(t)
	if _, err := eng.choose(t.Context(), ""); fault.ClassOf(err) != fault.Usage || !strings.Contains(fault.Report(err), "llorch-bk up") {
		t.Errorf("without an image: error = %v, want a fault.Usage that tells of up", err)
	}
	ours := func(level string) map[string]string {
		return map[string]string{images.LabelVariant: "cpu", images.LabelRecipe: "sha256:r", images.LabelCPU: level}
	}
	f.addImage("sha256:old", "llorch-bk:old", monday, ours("portable"))
	f.addImage("sha256:new", "llorch-bk:new", tuesday, ours("x86-64-v3"))
	f.addImage("sha256:foreign", "debian:trixie", tuesday.AddDate(1, 0, 0), nil)
	for name, c := range map[string]struct{ name, id, ref string }{
		"the newest of ours": {"", "sha256:new", "llorch-bk:new"},
		"by its name":        {"llorch-bk:old", "sha256:old", "llorch-bk:old"},
		"by its id":          {"sha256:old", "sha256:old", "sha256:old"},
		"a foreign one":      {"debian:trixie", "sha256:foreign", "debian:trixie"},
	} {
		got, err := eng.choose(t.Context(), c.name)
		if err != nil || got.ID != c.id || got.Ref != c.ref {
			t.Errorf("%s: %+v (%v), want %s as %s", name, got, err, c.id, c.ref)
		}
	}
	if _, err := eng.choose(t.Context(), "absent:1"); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "absent:1") {
		t.Errorf("error = %v, want a fault.Usage that names absent:1", err)
	}
	f.broken = true
	if _, err := eng.choose(t.Context(), "absent:1"); fault.ClassOf(err) != fault.Machine {
		t.Errorf("an engine that answers 500: %v, want a fault.Machine", err)
	}
	f.broken = false
	if _, err := eng.image(t.Context(), "absent:1"); !errdefs.IsNotFound(err) {
		t.Errorf("error = %v, want one that is a NotFound", err)
	}
}

// An engine that lists what it then cannot show: images come and go.
func TestImageGoesMeanwhile(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
			w.Header().Set("Api-Version", "1.41")
		case strings.HasSuffix(r.URL.Path, "/images/json"):
			reply(w, []map[string]string{{"Id": "sha256:gone"}})
		default:
			http.Error(w, `{"message":"no such image"}`, http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	f := &fakeEngine{env: map[string]string{"DOCKER_HOST": "tcp://" + server.Listener.Addr().String()}}
	got, err := f.connect(t).images(t.Context(), images.LabelVariant)
	if err != nil || len(got) != 0 {
		t.Errorf("images = %v (%v), want none", got, err)
	}
}

func TestFitting(t *testing.T) {
	t.Parallel()
	const fit = "sha256:fit"
	type have struct {
		tag   string
		level string
		at    time.Time
		fit   string
	}
	for name, c := range map[string]struct {
		images []have
		// cpu is --cpu, chosen whether the user said so, level the machine's best.
		cpu    string
		chosen bool
		level  string
		fit    string
		want   string // the tag, empty for none
	}{
		"nothing there":       {cpu: "native", level: "x86-64-v3", fit: fit},
		"a dirty tree":        {images: []have{{"a:1", "portable", monday, ""}}, cpu: "native", level: "x86-64-v3"},
		"another's":           {images: []have{{"a:1", "x86-64-v3", monday, "sha256:other"}}, cpu: "native", level: "x86-64-v3", fit: fit},
		"just this level":     {images: []have{{"a:1", "x86-64-v3", monday, fit}}, cpu: "native", level: "x86-64-v3", fit: fit, want: "a:1"},
		"a lower one does":    {images: []have{{"a:1", "x86-64-v2", monday, fit}}, cpu: "native", level: "x86-64-v3", fit: fit, want: "a:1"},
		"a higher one cannot": {images: []have{{"a:1", "x86-64-v4", monday, fit}}, cpu: "native", level: "x86-64-v3", fit: fit},
		"portable does":       {images: []have{{"a:1", "portable", monday, fit}}, cpu: "native", level: "x86-64-v3", fit: fit, want: "a:1"},
		"the newest that does": {
			images: []have{{"a:1", "x86-64-v2", monday, fit}, {"a:2", "portable", tuesday, fit}, {"a:3", "x86-64-v4", tuesday.AddDate(0, 0, 1), fit}},
			cpu:    "native", level: "x86-64-v3", fit: fit, want: "a:2",
		},
		"chosen, so no other": {images: []have{{"a:1", "x86-64-v2", monday, fit}, {"a:2", "portable", monday, fit}}, cpu: "x86-64-v3", chosen: true, level: "x86-64-v4", fit: fit},
		"chosen and there":    {images: []have{{"a:1", "portable", tuesday, fit}, {"a:2", "x86-64-v3", monday, fit}}, cpu: "x86-64-v3", chosen: true, level: "x86-64-v4", fit: fit, want: "a:2"},
		"native was chosen":   {images: []have{{"a:1", "portable", tuesday, fit}, {"a:2", "x86-64-v4", monday, fit}}, cpu: "native", chosen: true, level: "x86-64-v4", fit: fit, want: "a:2"},
		"a machine that nobody knows": {
			images: []have{{"a:1", "x86-64-v1", tuesday, fit}, {"a:2", "portable", monday, fit}},
			cpu:    "portable", level: "", fit: fit, want: "a:2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startEngine(t)
			for _, h := range c.images {
				f.addImage("sha256:"+h.tag, h.tag, h.at, map[string]string{images.LabelFit: h.fit, images.LabelCPU: h.level})
			}
			w := platformBuild{
				BuildOptions: BuildOptions{Request: images.Request{CPU: c.cpu, Platform: "linux/amd64"}, CPUChosen: c.chosen},
				cpuLevel:     c.level,
			}
			got, ok, err := f.connect(t).fitting(t.Context(), c.fit, w)
			if err != nil {
				t.Fatal(err)
			}
			if got.Ref != c.want || ok != (c.want != "") {
				t.Errorf("fitting = %q, %v; want %q", got.Ref, ok, c.want)
			}
		})
	}
}

func TestRunsHere(t *testing.T) {
	t.Parallel()
	arch := runtime.GOARCH
	machine := machineLevel(arch)
	if machine == "" {
		t.Skip("this machine does not say what its CPU can do")
	}
	local, remote := &dockerEngine{local: true}, &dockerEngine{}
	image := func(level string) imageOf {
		return imageOf{Ref: "a:1", Labels: map[string]string{images.LabelCPU: level}}
	}
	for _, l := range append([]images.Level{{Name: images.CPUPortable, Arch: arch}, {Name: "x86-64-v99", Arch: arch}}, images.Levels...) {
		if l.Arch != arch {
			continue
		}
		err := local.runsHere(image(l.Name), arch)
		if want := images.RunsOnLevel(arch, l.Name, machine); (err == nil) != want {
			t.Errorf("%s on %s: error = %v, want one: %v", l.Name, machine, err, !want)
		}
		if err != nil && (fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "a:1") || !strings.Contains(err.Error(), machine)) {
			t.Errorf("error = %v, want a fault.Machine that names image and machine", err)
		}
		if err := remote.runsHere(image(l.Name), arch); err != nil {
			t.Errorf("%s on another machine: %v", l.Name, err)
		}
	}
	if err := local.runsHere(imageOf{Ref: "foreign"}, arch); err != nil {
		t.Errorf("an image that says nothing: %v", err)
	}
	if err := local.runsHere(image("x86-64-v4"), ""); err != nil {
		t.Errorf("an engine that says nothing: %v", err)
	}
}

func TestMachineLevel(t *testing.T) {
	t.Parallel()
	for _, arch := range []string{"amd64", "arm64", "riscv64", ""} {
		level := machineLevel(arch)
		if arch != runtime.GOARCH && level != "" {
			t.Errorf("%s on %s: %q, want nothing", arch, runtime.GOARCH, level)
		}
		known := slices.ContainsFunc(images.Levels, func(l images.Level) bool { return l.Arch == arch && l.Name == level })
		if level != "" && !known {
			t.Errorf("%s: %q is no level", arch, level)
		}
	}
	if runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") && machineLevel(runtime.GOARCH) == "" {
		t.Error("this machine's level is not known")
	}
}

func TestEngineArch(t *testing.T) {
	t.Parallel()
	if got := engineArch(t.Context(), startEngine(t).connect(t)); got != "amd64" {
		t.Errorf("arch = %q", got)
	}
}

func TestFamiliarNames(t *testing.T) {
	t.Parallel()
	got := shortRefs([]string{"docker.io/library/llorch-bk:a", "ghcr.io/o/r:b", "Not A Name"})
	if d := cmp.Diff([]string{"llorch-bk:a", "ghcr.io/o/r:b", "Not A Name"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if b := (Built{ID: "sha256:1"}); b.String() != "sha256:1" {
		t.Errorf("an image without a name is %q", b)
	}
	if b := (Built{ID: "sha256:1", Tags: []string{"a:1", "b:1"}}); b.String() != "a:1" {
		t.Errorf("an image with names is %q", b)
	}
}
