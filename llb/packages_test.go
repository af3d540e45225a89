package llb_test

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
)

// lockedSubjects are those of a lock.
func lockedSubjects() map[string]subject {
	out := maps.Clone(subjects)
	maps.DeleteFunc(out, func(_ string, s subject) bool { return s.Facts.Packages == nil })
	return out
}

func env(o op, name string) (string, bool) {
	for _, e := range o.Op.GetExec().Meta.Env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

// mount is the state that a step has at a place, and the mount itself.
func mount(t *testing.T, all []op, o op, dest string) (op, *pb.Mount) {
	t.Helper()
	for _, m := range o.Op.GetExec().Mounts {
		if m.Dest != dest || m.Input < 0 {
			continue
		}
		at := slices.IndexFunc(all, func(in op) bool { return in.ID == o.Op.Inputs[m.Input].Digest })
		return all[at], m
	}
	return op{}, nil
}

// What is locked is fetched by its hash, and installed without a network: the steps name
// no package, but take what is there.
func TestLockedPackagesAreFetchedByTheirHash(t *testing.T) {
	t.Parallel()
	for name, s := range lockedSubjects() {
		all, p := s.ops(t), s.Facts.Packages
		steps := s.execs(t)
		for step, want := range map[string]struct {
			packages []images.Package
			base     images.BaseFacts
			script   string
		}{
			"[toolchain]":     {p.Toolchain, s.Facts.Build, "/llorch/packages.sh"},
			"[npm]":           {p.UI, s.Facts.Build, "/llorch/packages.sh"},
			"[runtime]":       {p.Runtime, s.Facts.Build, "/llorch/runtime.sh"},
			"[gpu-toolchain]": {p.Accelerator, s.Facts.Accelerator, "/llorch/packages.sh"},
		} {
			o, ok := steps[step]
			if len(want.packages) == 0 {
				if ok {
					t.Errorf("%s: %s has no packages", name, step)
				}
				continue
			}
			if diff := cmp.Diff([]string{"sh", want.script}, o.Op.GetExec().Meta.Args); diff != "" {
				t.Errorf("%s: %s: %s", name, step, diff)
			}
			if alone, _ := env(o, "ALONE"); alone != "" {
				t.Errorf("%s: %s takes %q by name", name, step, alone)
			}
			if got := o.Op.GetExec().Network; got != pb.NetMode_NONE {
				t.Errorf("%s: %s has network %s", name, step, got)
			}
			fetched, m := mount(t, all, o, "/debs")
			if m == nil || !m.Readonly || fetched.name() != fetch {
				t.Errorf("%s: %s has %s in /debs, %v", name, step, fetched.name(), m)
				continue
			}
			// From the base whose archives these are of.
			if base, _ := mount(t, all, fetched, "/"); !strings.HasSuffix(base.Op.GetSource().GetIdentifier(), "@"+want.base.Digest) {
				t.Errorf("%s: %s fetches on %s", name, step, base.Op.GetSource())
			}
			// It is told of archives that keep old packages by a secret, which is in no key.
			if exec := fetched.Op.GetExec(); !slices.ContainsFunc(exec.Mounts, func(m *pb.Mount) bool { return m.GetSecretOpt().GetID() == llb.SnapshotsSecret }) || slices.ContainsFunc(exec.Meta.Env, func(e string) bool { return strings.Contains(e, "snapshot") }) {
				t.Errorf("%s: %s is told of archives by %v and %q", name, step, exec.Mounts, exec.Meta.Env)
			}
			var lines []string
			for _, pkg := range want.packages {
				lines = append(lines, pkg.SHA256+" "+path.Base(pkg.Path)+" "+pkg.Path+"\n")
			}
			scripts, _ := mount(t, all, fetched, "/llorch")
			list := ""
			for _, a := range scripts.Op.GetFile().Actions {
				if f := a.GetMkfile(); f.GetPath() == "/packages" {
					list = string(f.Data)
				}
			}
			if diff := cmp.Diff(strings.Join(lines, ""), list); diff != "" {
				t.Errorf("%s: %s fetches (-want +got):\n%s", name, step, diff)
			}
		}
	}
}

// What an earlier build has left must not decide what a locked one gives.
func TestLockedBuildsHaveNoCompilerCache(t *testing.T) {
	t.Parallel()
	for name, s := range subjects {
		want := ""
		if s.Facts.Packages != nil {
			want = "1"
		}
		for step, o := range s.execs(t) {
			if got, _ := env(o, "CCACHE_DISABLE"); strings.HasPrefix(step, "[compile]") && got != want {
				t.Errorf("%s: %s has CCACHE_DISABLE=%s, want %q", name, step, got, want)
			}
		}
	}
}

// A package is its hash: with another one, the steps that have it are others, and no
// other set's are.
func TestLockedPackagesEnterTheKeys(t *testing.T) {
	t.Parallel()
	digests := func(s subject) map[string]string {
		out := map[string]string{}
		for step, o := range s.execs(t) {
			// Which of them is which says its number only as long as none is another.
			if strings.HasPrefix(step, fetch) {
				step = o.Metadata.Description["llb.customname"]
			}
			out[step] = o.digest.String()
		}
		return out
	}
	other := func(in []images.Package) []images.Package {
		in = slices.Clone(in)
		in[1].SHA256 = strings.Repeat("f", 64)
		return in
	}
	installs := []string{"[gpu-toolchain]", "[npm]", "[runtime]", "[toolchain]", "[ui]", "[compile] ggml", "[compile] ggml-cuda", "[compile] llama-server"}
	before := digests(subjects["locked-cuda"])
	for name, c := range map[string]struct {
		change  func(*images.PackageSets)
		changed []string
	}{
		"nothing":     {func(*images.PackageSets) {}, nil},
		"toolchain":   {func(p *images.PackageSets) { p.Toolchain = other(p.Toolchain) }, []string{"[compile] ggml", "[compile] llama-server", "[toolchain]"}},
		"accelerator": {func(p *images.PackageSets) { p.Accelerator = other(p.Accelerator) }, []string{"[compile] ggml-cuda", "[gpu-toolchain]"}},
		"ui":          {func(p *images.PackageSets) { p.UI = other(p.UI) }, []string{"[compile] llama-server", "[npm]", "[ui]"}},
		"runtime":     {func(p *images.PackageSets) { p.Runtime = other(p.Runtime) }, []string{"[runtime]"}},
		"a version alone, of the same bytes": {func(p *images.PackageSets) {
			p.Toolchain = slices.Clone(p.Toolchain)
			p.Toolchain[0].Version = "2:0"
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after := digests(subjects["locked-cuda"].with(func(s *subject) {
				sets := *s.Facts.Packages
				c.change(&sets)
				s.Facts.Packages = &sets
			}))
			var changed []string
			for _, step := range installs {
				if before[step] != after[step] {
					changed = append(changed, step)
				}
			}
			slices.Sort(changed)
			if diff := cmp.Diff(c.changed, changed); diff != "" {
				t.Errorf("other steps (-want +got):\n%s", diff)
			}
			fetched := 0
			for step, digest := range after {
				if strings.HasPrefix(step, fetch) && before[step] != digest {
					fetched++
				}
			}
			if want := min(1, len(c.changed)); fetched != want {
				t.Errorf("%d sets are fetched anew, want %d", fetched, want)
			}
		})
	}
}

func TestResolvePackages(t *testing.T) {
	t.Parallel()
	const debian, build, ui, nothing, alone = "docker-image://docker.io/library/debian:trixie-slim@", "toolchain base ccache clang cmake g++ gcc libc6-dev ninja-build",
		"ui base nodejs npm", "runtime nothing libc6 libgomp1 libstdc++6", "runtime alone base-files ca-certificates"
	// asked is what a state asks which base.
	type asked struct{ Base, Components, Sets string }
	onDebian := asked{debian + sha("b"), "", strings.Join([]string{build, ui, nothing, alone}, "\n")}
	onItsBase := asked{debian + sha("b"), "", strings.Join([]string{build, ui}, "\n")}
	const vulkanBuild = "accelerator base ccache clang cmake g++ gcc glslc libc6-dev libvulkan-dev ninja-build spirv-headers"
	for name, c := range map[string]struct {
		subject
		want []asked
	}{
		"cpu":                         {cpu(), []asked{onDebian}},
		"no UI":                       {cpu().with(func(s *subject) { s.NoUI = true }), []asked{{debian + sha("b"), "", strings.Join([]string{build, nothing, alone}, "\n")}}},
		"a runtime base":              {cpu().with(runtimeBase), []asked{onItsBase}},
		"cuda":                        {cpu().with(cuda), []asked{onDebian, {"docker-image://docker.io/nvidia/cuda:12.8.1-devel-ubuntu24.04@" + sha("d"), "", "accelerator base ccache cmake g++ gcc libc6-dev ninja-build"}}},
		"components of the archive":   {cpu().with(cudaDebian), []asked{onDebian, {debian + sha("b"), "contrib non-free", "accelerator base ccache cmake g++ g++-13 gcc libc6-dev ninja-build nvidia-cuda-toolkit"}}},
		"packages for a runtime base": {cpu().with(vulkan, runtimeBase, func(s *subject) { s.Facts.Runtime.Digest = sha("c") }), []asked{onItsBase, {debian + sha("c"), "", "runtime base libvulkan1 mesa-vulkan-drivers"}, {debian + sha("b"), "", vulkanBuild}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heads := func(now string) []string {
				var out []string
				for _, st := range resolve(t, c.subject, now) {
					out = append(out, llb.Digest(st).String())
				}
				return out
			}
			var got []asked
			for _, def := range resolve(t, c.subject, "1") {
				all := ops(t, def)
				o := all[slices.IndexFunc(all, func(o op) bool { return o.Op.GetExec() != nil })]
				base, _ := mount(t, all, o, "/")
				sets, _ := env(o, "SETS")
				components, _ := env(o, "COMPONENTS")
				got = append(got, asked{base.Op.GetSource().GetIdentifier(), components, sets})
				if o.Op.GetExec().Network != pb.NetMode_UNSET {
					t.Error("it has no network to ask")
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			first := heads("1")
			if diff := cmp.Diff(first, heads("1")); diff != "" {
				t.Errorf("the same question is another one: %s", diff)
			}
			for i, digest := range heads("2") {
				if digest == first[i] {
					t.Errorf("state %d does not ask again", i)
				}
			}
		})
	}
}

func resolve(t *testing.T, s subject, now string) []*bkllb.Definition {
	t.Helper()
	states, err := llb.ResolvePackages(s.plan(t), s.caps, s.opt, now)
	if err != nil {
		t.Fatal(err)
	}
	var out []*bkllb.Definition
	for _, st := range states {
		def, err := st.Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, def)
	}
	return out
}

func TestParsePackages(t *testing.T) {
	t.Parallel()
	line := func(set string, p images.Package) string {
		return strings.Join([]string{set, p.SHA256, "100", p.Name, p.Version, p.Architecture, p.Path}, " ") + "\n"
	}
	cmake, gcc, libc := deb("cmake", "3.31.6-2", "1"), deb("g++", "4:14.2.0-1", "2"), deb("libc6", "2.41-12", "3")
	var got images.PackageSets
	distribution, err := llb.ParsePackages([]byte("# debian\n"+line("toolchain", gcc)+line("runtime", libc)+line("toolchain", cmake)+line("ui", libc)+line("runtime", cmake)), &got)
	if err != nil || distribution != "debian" {
		t.Errorf("of %q, %v", distribution, err)
	}
	want := images.PackageSets{Toolchain: []images.Package{cmake, gcc}, UI: []images.Package{libc}, Runtime: []images.Package{cmake, libc}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Another base adds to them, and what two say is there once.
	distribution, err = llb.ParsePackages([]byte("# ubuntu\n"+line("accelerator", gcc)+line("runtime", libc)), &got)
	want.Accelerator = []images.Package{gcc}
	if diff := cmp.Diff(want, got); err != nil || distribution != "ubuntu" || diff != "" {
		t.Errorf("of %q, %v: %s", distribution, err, diff)
	}

	for name, data := range map[string]string{
		"an unknown set":      line("tools", cmake),
		"no path":             strings.Replace(line("toolchain", cmake), cmake.Path, "", 1),
		"no hash":             strings.Replace(line("toolchain", cmake), cmake.SHA256, "", 1),
		"a size in words":     strings.Replace(line("toolchain", cmake), " 100 ", " much ", 1),
		"an empty line":       line("toolchain", cmake) + "\n" + line("toolchain", gcc),
		"a word of apt's":     "E: Unable to locate package cmake\n",
		"a line without end":  "toolchain " + cmake.SHA256,
		"a field more":        strings.TrimSpace(line("toolchain", cmake)) + " more\n",
		"two distributions's": "# debian ubuntu\n",
	} {
		if _, err := llb.ParsePackages([]byte(data), &images.PackageSets{}); err == nil {
			t.Errorf("%s is understood: %q", name, data)
		}
	}
}
