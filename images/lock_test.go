package images_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

// tree is git's id of the files of commit.
const tree = "1111222233334444555566667777888899990000"

var scripts = sha("5")

// deb is a package that is pinned; digit tells it from others.
func deb(name, version, digit string) images.Package {
	// Names of files have no epoch.
	_, bare, ok := strings.Cut(version, ":")
	if !ok {
		bare = version
	}
	return images.Package{
		Name: name, Version: version, Architecture: "amd64", SHA256: strings.Repeat(digit, 64), Size: 100,
		Path: "pool/main/" + name[:1] + "/" + name + "/" + name + "_" + bare + "_amd64.deb",
	}
}

// sets are packages for every part of a plan.
func sets() images.PackageSets {
	return images.PackageSets{
		Toolchain:   []images.Package{deb("cmake", "3.31.6-2", "1"), deb("g++", "4:14.2.0-1", "2")},
		Accelerator: []images.Package{deb("cmake", "3.28.3-1", "3")},
		UI:          []images.Package{deb("npm", "9.2.0~ds1-3", "4")},
		Runtime:     []images.Package{deb("base-files", "13.8", "5"), deb("libc6", "2.41-12", "6")},
	}
}

// lockable are facts that say all that a lock needs.
func lockable(f *images.Facts) {
	f.Source.TreeID, f.Source.Depth, f.Source.Tree.UILock, f.Scripts = tree, 9000, sha("7"), scripts
}

func lockOf(t *testing.T, r func(*images.Request), f func(*images.Facts), s images.PackageSets) (images.Lock, error) {
	t.Helper()
	known := facts(lockable)
	if f != nil {
		f(&known)
	}
	p, err := images.MakePlan(normal(t, r), known)
	if err != nil {
		t.Fatal(err)
	}
	return images.MakeLock(normal(t, r), known, p, s)
}

// wholeLock has every field of a lock that can be there at once.
func wholeLock(t *testing.T) images.Lock {
	t.Helper()
	l, err := lockOf(t, func(r *images.Request) {
		r.Variant, r.CUDAArch = "cuda", []string{"86", "89"}
		r.CMakeFlags, r.Programs, r.RuntimeBase = []string{"-DGGML_LTO=ON"}, []string{"llama-bench", "llama-cli"}, "docker.io/library/debian:trixie-slim"
	}, cudaFacts, sets())
	if err != nil {
		t.Fatal(err)
	}
	p := l.Platforms["linux/amd64"]
	p.Snapshots = []string{"https://snapshot.debian.org/archive/debian/20261001T100000Z", "https://snapshot.debian.org/archive/debian-security/20261001T100000Z"}
	l.Platforms["linux/amd64"] = p
	l.Model = images.LockModel{
		Ref: "hf:org/repo:Q4_K_M", Pinned: "hf:org/repo@" + commit + "/q4/m-00001-of-00002.gguf", Commit: commit,
		Files: []images.LockFileHash{
			{Path: "q4/m-00001-of-00002.gguf", Size: 11, SHA256: strings.Repeat("1", 64)},
			{Path: "q4/m-00002-of-00002.gguf", Size: 12, SHA256: strings.Repeat("2", 64)},
		},
	}
	return l
}

// cpuLock is a lock of an image whose root is made of packages' files.
func cpuLock(t *testing.T) images.Lock {
	t.Helper()
	s := sets()
	s.Accelerator = nil
	l, err := lockOf(t, nil, nil, s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func encode(t *testing.T, l images.Lock) []byte {
	t.Helper()
	data, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestMakeLock(t *testing.T) {
	t.Parallel()
	got := wholeLock(t)
	base := images.BaseFacts{Ref: "docker.io/library/debian:trixie-slim", Digest: sha("b"), Env: []string{"PATH=/usr/bin:/bin"}}
	want := images.Lock{
		Schema: 1,
		Recipe: images.LockRecipe{Number: 1, Scripts: scripts},
		Source: images.LockSource{
			Repository: images.DefaultRepository, Ref: images.DefaultRef, Commit: commit, Tree: tree,
			// In UTC, wherever the commit was made.
			Time: time.Date(2026, 10, 1, 10, 0, 0, 0, time.UTC), Tag: "v0.5.0", Depth: 9000, UILock: sha("7"),
		},
		Request: images.LockRequest{
			// The toolkit that was chosen, not the family that was asked for.
			Variant: "cuda12", CPU: images.CPUPortable, CUDA: "12.8", CUDAArch: []string{"86", "89"},
			CMake: []string{"-DGGML_LTO=ON"}, Programs: []string{"llama-bench", "llama-cli"},
		},
		Platforms: map[string]images.LockPlatform{"linux/amd64": {
			Build: base, Runtime: base,
			Accelerator: images.BaseFacts{Ref: nvidia128, Digest: sha("d"), Env: []string{"PATH=/usr/local/cuda/bin:/usr/bin:/bin"}},
			Snapshots:   got.Platforms["linux/amd64"].Snapshots, Packages: sets(),
		}},
		Model: got.Model,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What a request leaves to the machine or to the program is in the lock as it was decided.
func TestMakeLockDecides(t *testing.T) {
	t.Parallel()
	gpus := func(f *images.Facts) {
		cudaFacts(f)
		f.GPU = &images.GPUFacts{Driver: "570.26", Devices: []images.GPU{{Capability: "8.6"}, {Capability: "12.0"}}}
		f.CPULevel = "x86-64-v3"
	}
	for name, c := range map[string]struct {
		r       func(*images.Request)
		f       func(*images.Facts)
		variant string
		cpu     string
		archs   []string
	}{
		"the machine's CPU":       {func(r *images.Request) { r.CPU = images.CPUNative }, func(f *images.Facts) { f.CPULevel = "x86-64-v3" }, "cpu", "x86-64-v3", nil},
		"the machine's GPUs":      {func(r *images.Request) { r.Variant, r.CUDAArch = "cuda", []string{images.CUDAAuto} }, gpus, "cuda12", images.CPUPortable, []string{"86", "120"}},
		"every GPU":               {cuda, cudaFacts, "cuda12", images.CPUPortable, []string{"61", "70", "75", "80", "86", "89", "90", "100", "120"}},
		"every GPU, by that word": {func(r *images.Request) { r.Variant, r.CUDAArch = "cuda", []string{images.CUDAAll} }, cudaFacts, "cuda12", images.CPUPortable, []string{"61", "70", "75", "80", "86", "89", "90", "100", "120"}},
		"a toolkit that is there": {cuda, func(f *images.Facts) {
			f.Accelerator = images.BaseFacts{Ref: "docker.io/nvidia/cuda:13.0.1-devel-ubuntu24.04@sha256:7d2f6a8c2071d911524f95061a0db363e24d27aa51ec831fcccf9e76eb72bc92", Digest: sha("e")}
			f.Unreachable = []string{nvidia128}
		}, "cuda13", images.CPUPortable, []string{"75", "80", "86", "89", "90", "100", "103", "120", "121"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := lockOf(t, c.r, c.f, sets())
			if err != nil {
				t.Fatal(err)
			}
			if l.Request.Variant != c.variant || l.Request.CPU != c.cpu || !slices.Equal(l.Request.CUDAArch, c.archs) {
				t.Errorf("got %+v", l.Request)
			}
		})
	}
}

func TestMakeLockRefuses(t *testing.T) {
	t.Parallel()
	twice := sets()
	twice.Toolchain = []images.Package{deb("cmake", "1", "1"), deb("cmake", "2", "2")}
	none, rootless := sets(), sets()
	none.Toolchain, rootless.Runtime = nil, nil
	for name, c := range map[string]struct {
		f     func(*images.Facts)
		sets  images.PackageSets
		class fault.Class
		why   string
	}{
		"a tree that nobody has read": {func(f *images.Facts) { f.Source.Tree = nil }, sets(), fault.Unexpected, "pending: source.tree"},
		"two facts to look up":        {func(f *images.Facts) { f.Source.Commit, f.Build = "", images.BaseFacts{} }, sets(), fault.Unexpected, "source.commit, build_base.digest"},
		"changes":                     {func(f *images.Facts) { f.Source.Dirty, f.Source.Content = true, sha("8") }, sets(), fault.Usage, "other machines do not have them"},
		"a folder of a larger tree":   {func(f *images.Facts) { f.Source.Content = sha("8") }, sets(), fault.Usage, "other machines do not have them"},
		"no time":                     {func(f *images.Facts) { f.Source.Time = time.Time{} }, sets(), fault.Machine, "the commit's time is unknown"},
		"a base of one engine":        {func(f *images.Facts) { f.Build.Digest, f.Build.ID = "", sha("9") }, sets(), fault.Usage, "platforms.linux/amd64.build_base"},
		"scripts that nobody knows":   {func(f *images.Facts) { f.Scripts = "" }, sets(), fault.Usage, "recipe.scripts"},
		"a package in two versions":   {nil, twice, fault.Usage, "packages.toolchain: duplicate cmake"},
		"no toolchain":                {nil, none, fault.Usage, "packages.toolchain"},
		"an image of nothing":         {nil, rootless, fault.Usage, "packages.runtime"},
		"packages that are not found": {nil, images.PackageSets{Toolchain: []images.Package{{Name: "cmake"}}, Runtime: sets().Runtime}, fault.Usage, "packages.toolchain: cmake"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := lockOf(t, nil, c.f, c.sets)
			if fault.ClassOf(err) != c.class || err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("class %d, %v: want %d with %q", fault.ClassOf(err), err, c.class, c.why)
			}
			if diff := cmp.Diff(images.Lock{}, l); diff != "" {
				t.Errorf("a lock beside the error: %s", diff)
			}
		})
	}
}

func TestLockHasOneForm(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*testing.T) images.Lock{"whole": wholeLock, "cpu": cpuLock} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := encode(t, make(t))
			for range 25 {
				if again := encode(t, make(t)); !bytes.Equal(first, again) {
					t.Fatal(cmp.Diff(string(first), string(again)))
				}
			}
			l, err := images.DecodeLock(first)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(make(t), l, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(string(first), string(encode(t, l))); diff != "" {
				t.Errorf("encoded again (-want +got):\n%s", diff)
			}
			// Space is nobody's meaning: a lock that an editor has indented otherwise is the same.
			var other bytes.Buffer
			if err := json.Indent(&other, first, "", "\t"); err != nil {
				t.Fatal(err)
			}
			if l, err = images.DecodeLock(other.Bytes()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(first), string(encode(t, l))); diff != "" {
				t.Errorf("from other space (-want +got):\n%s", diff)
			}
		})
	}
	// People read it: names are as they are, and the end is a line's.
	text := string(encode(t, wholeLock(t)))
	if !strings.Contains(text, `"name": "g++"`) || strings.Contains(text, `\u00`) || !strings.HasSuffix(text, "}\n") {
		t.Errorf("got %s", text)
	}
}

// A lock leads back to the plan that it was made of.
func TestLocked(t *testing.T) {
	t.Parallel()
	gpus := func(f *images.Facts) {
		cudaFacts(f)
		f.GPU = &images.GPUFacts{Driver: "570.26", Devices: []images.GPU{{Capability: "8.6"}, {Capability: "12.0"}}}
	}
	for name, c := range map[string]struct {
		r func(*images.Request)
		f func(*images.Facts)
	}{
		"cpu":                {nil, nil},
		"cpu, this machine":  {func(r *images.Request) { r.CPU = images.CPUNative }, func(f *images.Facts) { f.CPULevel = "x86-64-v3" }},
		"no UI":              {func(r *images.Request) { r.NoUI = true }, nil},
		"flags and programs": {func(r *images.Request) { r.CMakeFlags, r.Programs = []string{"-DX=a b"}, []string{"llama-cli"} }, nil},
		"cuda":               {func(r *images.Request) { r.Variant, r.CUDAArch = "cuda", []string{"8.6", "89"} }, cudaFacts},
		"cuda, every GPU":    {cuda, cudaFacts},
		"cuda, this machine": {func(r *images.Request) { r.Variant, r.CUDAArch = "cuda", []string{images.CUDAAuto} }, gpus},
		"cuda, another base": {func(r *images.Request) { r.Variant, r.AcceleratorBase = "cuda", "mirror.example/cuda:12.8" }, func(f *images.Facts) {
			f.Accelerator = images.BaseFacts{Ref: "mirror.example/cuda:12.8", Digest: sha("d")}
		}},
		"cuda-debian":    {func(r *images.Request) { r.Variant = "cuda-debian" }, nil},
		"a runtime base": {runtimeBase, func(f *images.Facts) { f.Runtime.Ref = "docker.io/me/run:latest" }},
		"a base": {func(r *images.Request) { r.Base = "me/base" }, func(f *images.Facts) {
			f.Build.Ref, f.Runtime.Ref = "docker.io/me/base:latest", "docker.io/me/base:latest"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known := facts(lockable)
			if c.f != nil {
				c.f(&known)
			}
			r := normal(t, c.r)
			s := sets()
			if r.NoUI {
				s.UI = nil
			}
			if r.RuntimeBase == "" && r.Base == "" {
				known.Runtime = images.BaseFacts{}
			}
			made, err := images.MakePlan(r, known)
			if err != nil {
				t.Fatal(err)
			}
			l, err := images.MakeLock(r, known, made, s)
			if err != nil {
				t.Fatal(err)
			}
			if l, err = images.DecodeLock(encode(t, l)); err != nil {
				t.Fatal(err)
			}
			lr, lf, err := l.Locked("linux/amd64", []string{"docker.io/me/image:1"}, scripts)
			if err != nil {
				t.Fatal(err)
			}
			if lr, err = lr.Normalise(); err != nil {
				t.Fatal(err)
			}
			if (lf.Source.Tree == nil) != r.NoUI || lf.Packages == nil || !slices.Equal(lr.Tags, []string{"docker.io/me/image:1"}) || lr.Ref != commit {
				t.Errorf("request %+v\nfacts %+v", lr, lf)
			}
			// What a lock does not say, whoever builds reads in the tree.
			lf.Source.Kind, lf.Source.Tree = known.Source.Kind, known.Source.Tree
			locked, err := images.MakePlan(lr, lf)
			if err != nil {
				t.Fatal(err)
			}
			known.Packages = &s
			want, err := images.MakePlan(r, known)
			if err != nil {
				t.Fatal(err)
			}
			if locked.Recipe == "" || locked.Recipe != want.Recipe {
				t.Errorf("another recipe (-want +got):\n%s", cmp.Diff(want, locked, cmp.AllowUnexported(images.PlanSource{}, images.PlanCUDA{})))
			}
			if locked.Recipe == made.Recipe {
				t.Error("packages of any version make the recipe of pinned ones")
			}
		})
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	const at = "platforms.linux/amd64."
	pkg := deb("cmake", "3.31.6-2", "1")
	for name, c := range map[string]struct {
		change func(*images.Lock)
		want   []string
	}{
		"nothing":     {func(*images.Lock) {}, nil},
		"the schema":  {func(l *images.Lock) { l.Schema = 2 }, []string{"schema: 1 → 2"}},
		"the scripts": {func(l *images.Lock) { l.Recipe.Scripts = sha("0") }, []string{"recipe.scripts: " + scripts + " → " + sha("0")}},
		"the commit":  {func(l *images.Lock) { l.Source.Commit = strings.Repeat("0", 40) }, []string{"source.commit: " + commit + " → " + strings.Repeat("0", 40)}},
		"the time":    {func(l *images.Lock) { l.Source.Time = l.Source.Time.Add(time.Hour) }, []string{"source.time: 2026-10-01T10:00:00Z → 2026-10-01T11:00:00Z"}},
		"less of the source": {func(l *images.Lock) {
			l.Source.Ref, l.Source.Tree = "", ""
		}, []string{"source.ref: removed v0.5.0", "source.tree: removed " + tree}},
		"the depth":    {func(l *images.Lock) { l.Source.Depth = 9001 }, []string{"source.depth: 9000 → 9001"}},
		"the UI":       {func(l *images.Lock) { l.Request.NoUI = true }, []string{"request.no_ui: added true"}},
		"a flag":       {func(l *images.Lock) { l.Request.CMake = []string{"-DGGML_LTO=ON", "-DX=Y"} }, []string{"request.cmake_flags: -DGGML_LTO=ON → -DGGML_LTO=ON -DX=Y"}},
		"the programs": {func(l *images.Lock) { l.Request.Programs = []string{"llama-bench llama-cli"} }, []string{`request.programs: llama-bench llama-cli → "llama-bench llama-cli"`}},
		"a base":       {onPlatform(func(p *images.LockPlatform) { p.Build.Digest = sha("c") }), []string{at + "build_base.digest: " + sha("b") + " → " + sha("c")}},
		"a base's name": {onPlatform(func(p *images.LockPlatform) { p.Runtime.Ref = "docker.io/me/run:1" }), []string{
			at + "runtime_base.ref: docker.io/library/debian:trixie-slim → docker.io/me/run:1",
		}},
		"no accelerator": {onPlatform(func(p *images.LockPlatform) { p.Accelerator.Env, p.Packages.Accelerator = nil, nil }), []string{
			at + "accelerator_base.env: removed PATH=/usr/local/cuda/bin:/usr/bin:/bin",
			at + "packages.accelerator.cmake: removed 3.28.3-1 " + strings.Repeat("3", 64),
		}},
		"a package":            {inPackage(func(p *images.Package) { p.Version, p.SHA256 = "4", hex64 }), []string{at + "packages.toolchain.cmake: 3.31.6-2 " + hex64 + " → 4 " + hex64}},
		"a package made again": {inPackage(func(p *images.Package) { p.SHA256 = strings.Repeat("f", 64) }), []string{at + "packages.toolchain.cmake: 3.31.6-2 " + hex64 + " → 3.31.6-2 " + strings.Repeat("f", 64)}},
		// The same bytes, wherever they are.
		"a package elsewhere": {inPackage(func(p *images.Package) { p.Path = "pool/main/c/cmake/other.deb" }), nil},
		"a new package": {onPlatform(func(p *images.LockPlatform) {
			p.Packages.Toolchain = append(p.Packages.Toolchain, deb("ninja-build", "1", "8"))
		}), []string{
			at + "packages.toolchain.ninja-build: added 1 " + strings.Repeat("8", 64),
		}},
		"a package in another set": {onPlatform(func(p *images.LockPlatform) {
			p.Packages.Toolchain, p.Packages.UI = p.Packages.Toolchain[1:], []images.Package{pkg, p.Packages.UI[0]}
		}), []string{
			at + "packages.toolchain.cmake: removed 3.31.6-2 " + hex64,
			at + "packages.ui.cmake: added 3.31.6-2 " + hex64,
		}},
		"archives": {onPlatform(func(p *images.LockPlatform) { p.Snapshots = p.Snapshots[:1] }), []string{
			at + "snapshots: https://snapshot.debian.org/archive/debian/20261001T100000Z https://snapshot.debian.org/archive/debian-security/20261001T100000Z → https://snapshot.debian.org/archive/debian/20261001T100000Z",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, changed := wholeLock(t), wholeLock(t)
			c.change(&changed)
			var got []string
			for _, d := range old.Differences(changed) {
				got = append(got, d.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			// The other way round it is the same parts.
			back := changed.Differences(old)
			for i, d := range old.Differences(changed) {
				if back[i] != (images.Difference{Part: d.Part, Old: d.New, New: d.Old}) {
					t.Errorf("there %+v, and back %+v", d, back[i])
				}
			}
		})
	}
	// A platform more is all that is in it.
	two := cpuLock(t)
	two.Platforms = maps.Clone(two.Platforms)
	two.Platforms["linux/arm64"] = images.LockPlatform{Build: images.BaseFacts{Ref: "docker.io/library/debian:trixie-slim", Digest: sha("e")}}
	want := []images.Difference{
		{Part: "platforms.linux/arm64.build_base.digest", New: sha("e")},
		{Part: "platforms.linux/arm64.build_base.ref", New: "docker.io/library/debian:trixie-slim"},
	}
	if diff := cmp.Diff(want, cpuLock(t).Differences(two)); diff != "" {
		t.Error(diff)
	}
}
