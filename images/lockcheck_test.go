package images_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

// broken is a lock that cannot be right.
type broken struct {
	name string
	// old is replaced by new in the text of wholeLock, or, with cpu, of cpuLock.
	old, new string
	// change is for what is more than a word.
	change func(*images.Lock)
	cpu    bool
	// part is what the error has to name.
	part string
	// beyond the schema: only the program tells.
	beyond bool
}

// text is the lock's, as somebody has left it.
func (b broken) text(t *testing.T) string {
	t.Helper()
	l := wholeLock(t)
	if b.cpu {
		l = cpuLock(t)
	}
	if b.change != nil {
		b.change(&l)
	}
	text := string(encode(t, l))
	if b.old != "" {
		if !strings.Contains(text, b.old) {
			t.Fatalf("the lock has no %q:\n%s", b.old, text)
		}
		text = strings.Replace(text, b.old, b.new, 1)
	}
	return text
}

// onModel changes the model of a lock that has one.
func onModel(f func(*images.LockModel)) func(*images.Lock) {
	return func(l *images.Lock) { f(&l.Model) }
}

// onPlatform changes the one platform that the tests' locks have.
func onPlatform(change func(*images.LockPlatform)) func(*images.Lock) {
	return func(l *images.Lock) {
		p := l.Platforms["linux/amd64"]
		p.Packages.Toolchain = slices.Clone(p.Packages.Toolchain)
		change(&p)
		l.Platforms["linux/amd64"] = p
	}
}

// inPackage changes the first package of a toolchain.
func inPackage(change func(*images.Package)) func(*images.Lock) {
	return onPlatform(func(p *images.LockPlatform) { change(&p.Packages.Toolchain[0]) })
}

const (
	inToolchain = "platforms.linux/amd64.packages.toolchain"
	hex64       = "1111111111111111111111111111111111111111111111111111111111111111"
)

var brokenLocks = []broken{
	{name: "another schema", old: `"schema": 1`, new: `"schema": 2`, part: "schema"},
	{name: "a schema in words", old: `"schema": 1`, new: `"schema": "1"`, part: "schema"},
	{name: "no schema", old: "  \"schema\": 1,\n", part: "schema"},
	{name: "half of it", old: "  \"platforms\": {\n", new: "\x00", part: "not JSON"},
	{name: "a merge that was not finished", old: `  "source"`, new: "<<<<<<< HEAD\n  \"source\"", part: "not JSON"},
	{name: "a second lock after it", change: nil, old: "\n}\n", new: "\n}\n{}\n", part: "not JSON"},
	{name: "an unknown field", old: `"recipe": {`, new: `"recipes": {`, part: `"recipes"`},
	{name: "an unknown field within", old: `"layout"`, new: `"layouts"`, part: `"layouts"`, change: onPlatform(func(p *images.LockPlatform) { p.Build.Layout = true })},
	{name: "a number in words", old: `"depth": 9000`, new: `"depth": "9000"`, part: "depth"},
	{name: "one field twice", old: `    "commit": `, new: `    "commit": "` + strings.Repeat("0", 40) + "\",\n    \"commit\": ", part: "not in canonical form", beyond: true},
	{name: "one platform twice", old: `  "platforms": {`, new: `  "platforms": {"linux/amd64": {},`, part: "not in canonical form", beyond: true},
	{name: "a field in capitals", old: `"commit"`, new: `"Commit"`, part: "not in canonical form"},
	{name: "fields in another order", old: "\"number\": 1,\n    \"scripts\": \"" + sha("5") + "\"", new: `"scripts": "` + sha("5") + `", "number": 1`, part: "not in canonical form", beyond: true},
	{name: "a value that says nothing", old: `"ref": "v0.5.0"`, new: `"ref": ""`, part: "not in canonical form"},
	{name: "null", old: `"ref": "v0.5.0"`, new: `"ref": null`, part: "not in canonical form"},

	{name: "another recipe", change: func(l *images.Lock) { l.Recipe.Number = 7 }, part: "recipe.number", beyond: true},
	{name: "no recipe", change: func(l *images.Lock) { l.Recipe.Number = 0 }, part: "recipe.number"},
	{name: "other scripts", change: func(l *images.Lock) { l.Recipe.Scripts = sha("0") }, part: "recipe.scripts", beyond: true},
	{name: "no scripts", change: func(l *images.Lock) { l.Recipe.Scripts = "" }, part: "recipe.scripts"},

	{name: "its own platform's builder", change: onPlatform(func(p *images.LockPlatform) { p.Builder = "linux/amd64" }), part: "platforms.linux/amd64.builder", beyond: true},
	{name: "a builder like none", change: onPlatform(func(p *images.LockPlatform) { p.Builder = "linux/riscv64" }), part: "platforms.linux/amd64.builder"},

	{name: "no repository", change: func(l *images.Lock) { l.Source.Repository = "" }, part: "source.repository"},
	{name: "a short commit", change: func(l *images.Lock) { l.Source.Commit = commit[:12] }, part: "source.commit"},
	{name: "a branch for a commit", change: func(l *images.Lock) { l.Source.Commit = "master" }, part: "source.commit"},
	{name: "a commit and more", change: func(l *images.Lock) { l.Source.Commit = commit + "\n" }, part: "source.commit"},
	{name: "a tree that is none", change: func(l *images.Lock) { l.Source.Tree = strings.ToUpper(strings.Repeat("a", 40)) }, part: "source.tree"},
	{name: "no time", change: func(l *images.Lock) { l.Source.Time = time.Time{} }, part: "source.time", beyond: true},
	{name: "a time elsewhere", old: "2026-10-01T10:00:00Z", new: "2026-10-01T12:00:00+02:00", part: "source.time"},
	{name: "parts of a second", old: "2026-10-01T10:00:00Z", new: "2026-10-01T10:00:00.5Z", part: "source.time"},
	{name: "a time in words", old: "2026-10-01T10:00:00Z", new: "yesterday", part: "yesterday"},
	{name: "less than no history", change: func(l *images.Lock) { l.Source.Depth = -1 }, part: "source.depth"},
	{name: "a bad digest of the UI's lock", change: func(l *images.Lock) { l.Source.UILock = "sha256:7" }, part: "source.ui_lock"},

	{name: "a model of no name", change: onModel(func(m *images.LockModel) { m.Ref = "" }), part: "model.ref"},
	{name: "a model that is not pinned", change: onModel(func(m *images.LockModel) { m.Pinned = "" }), part: "model.pinned"},
	{name: "a branch of a model", change: onModel(func(m *images.LockModel) { m.Commit = "main" }), part: "model.commit"},
	{name: "a model of no files", change: onModel(func(m *images.LockModel) { m.Files = nil }), part: "model.files"},
	{name: "a model's file twice", change: onModel(func(m *images.LockModel) { m.Files[1].Path = m.Files[0].Path }), part: "model.files", beyond: true},
	{name: "a model's file elsewhere", change: onModel(func(m *images.LockModel) { m.Files[1].Path = "../m.gguf" }), part: "model.files", beyond: true},
	{name: "a model's file at the root", change: onModel(func(m *images.LockModel) { m.Files[1].Path = "/m.gguf" }), part: "model.files"},
	{name: "a model's file that is empty", change: onModel(func(m *images.LockModel) { m.Files[1].Size = 0 }), part: "model.files"},
	{name: "a model's file with half a hash", change: onModel(func(m *images.LockModel) { m.Files[1].SHA256 = "12" }), part: "model.files"},

	{name: "an unknown variant", change: func(l *images.Lock) { l.Request.Variant = "rocm" }, part: "request.variant", beyond: true},
	{name: "a family", change: func(l *images.Lock) { l.Request.Variant = "cuda" }, part: "request.variant", beyond: true},
	{name: "this machine's CPU", change: func(l *images.Lock) { l.Request.CPU = images.CPUNative }, part: "request.cpu"},
	{name: "a CPU of elsewhere", change: func(l *images.Lock) { l.Request.CPU = "armv8.2-a" }, part: "request", beyond: true},
	{name: "another toolkit", change: func(l *images.Lock) { l.Request.CUDA = "13.0" }, part: "request.cuda", beyond: true},
	{name: "a toolkit for nothing", cpu: true, change: func(l *images.Lock) { l.Request.CUDA = "12.8" }, part: "request.cuda", beyond: true},
	{name: "this machine's GPUs", change: func(l *images.Lock) { l.Request.CUDAArch = []string{images.CUDAAuto} }, part: "request.cuda_arch"},
	{name: "every GPU", change: func(l *images.Lock) { l.Request.CUDAArch = []string{images.CUDAAll} }, part: "request.cuda_arch"},
	{name: "no GPU", change: func(l *images.Lock) { l.Request.CUDAArch = nil }, part: "request.cuda_arch", beyond: true},
	{name: "GPUs for nothing", cpu: true, change: func(l *images.Lock) { l.Request.CUDAArch = []string{"86"} }, part: "request", beyond: true},
	{name: "a flag that is none", change: func(l *images.Lock) { l.Request.CMake = []string{"--trace"} }, part: "request"},
	{name: "a program of others", change: func(l *images.Lock) { l.Request.Programs = []string{"bash"} }, part: "request"},

	{name: "no platform", change: func(l *images.Lock) { l.Platforms = map[string]images.LockPlatform{} }, part: "platforms"},
	{name: "an unknown platform", old: `"linux/amd64": {`, new: `"linux/mips": {`, part: "platforms.linux/mips"},
	{name: "another platform", old: `"linux/amd64": {`, new: `"linux/arm64": {`, part: "the lock is not for this platform", beyond: true},
	{name: "no base", change: onPlatform(func(p *images.LockPlatform) { p.Build = images.BaseFacts{} }), part: "platforms.linux/amd64.build_base"},
	{name: "a base without a digest", change: onPlatform(func(p *images.LockPlatform) { p.Build.Digest = "" }), part: "platforms.linux/amd64.build_base"},
	{name: "a base by another digest", change: onPlatform(func(p *images.LockPlatform) { p.Build.Digest = "sha512:" + strings.Repeat("b", 128) }), part: "platforms.linux/amd64.build_base"},
	{name: "a base by half a digest", change: onPlatform(func(p *images.LockPlatform) { p.Runtime.Digest = sha("b")[:40] }), part: "platforms.linux/amd64.runtime_base"},
	{name: "a base without a name", change: onPlatform(func(p *images.LockPlatform) { p.Accelerator.Ref = "" }), part: "platforms.linux/amd64.accelerator_base"},
	{name: "a base whose name is none", change: onPlatform(func(p *images.LockPlatform) { p.Runtime.Ref = "Not A Name" }), part: "request", beyond: true},
	{name: "a base for no GPU", cpu: true, change: onPlatform(func(p *images.LockPlatform) { p.Accelerator = p.Build }), part: "request", beyond: true},
	{name: "an archive that is a file", change: onPlatform(func(p *images.LockPlatform) { p.Snapshots = []string{"file:///etc"} }), part: "platforms.linux/amd64.snapshots"},
	{name: "two archives in one", change: onPlatform(func(p *images.LockPlatform) { p.Snapshots = []string{"https://a.example https://b.example"} }), part: "platforms.linux/amd64.snapshots"},

	{name: "no toolchain", change: onPlatform(func(p *images.LockPlatform) { p.Packages.Toolchain = nil }), part: inToolchain},
	{name: "no toolchain for GPUs", change: onPlatform(func(p *images.LockPlatform) { p.Packages.Accelerator = nil }), part: "platforms.linux/amd64.packages.accelerator", beyond: true},
	{name: "no toolchain for the UI", change: onPlatform(func(p *images.LockPlatform) { p.Packages.UI = nil }), part: "platforms.linux/amd64.packages.ui", beyond: true},
	{name: "an image of nothing", cpu: true, change: onPlatform(func(p *images.LockPlatform) { p.Packages.Runtime = nil }), part: "platforms.linux/amd64.packages.runtime"},
	{name: "a package without a name", change: inPackage(func(p *images.Package) { p.Name = "" }), part: inToolchain},
	{name: "a package that is an option", change: inPackage(func(p *images.Package) { p.Name = "-oAPT::x" }), part: inToolchain},
	{name: "a package of any version", change: inPackage(func(p *images.Package) { p.Version = "" }), part: inToolchain},
	{name: "a version that is none", change: inPackage(func(p *images.Package) { p.Version = "1 2" }), part: inToolchain},
	{name: "no architecture", change: inPackage(func(p *images.Package) { p.Architecture = "" }), part: inToolchain},
	{name: "no hash", change: inPackage(func(p *images.Package) { p.SHA256 = "" }), part: inToolchain},
	{name: "a hash in capitals", change: inPackage(func(p *images.Package) { p.SHA256 = strings.Repeat("A", 64) }), part: inToolchain},
	{name: "a short hash", change: inPackage(func(p *images.Package) { p.SHA256 = hex64[:63] }), part: inToolchain},
	{name: "a digest for a hash", change: inPackage(func(p *images.Package) { p.SHA256 = "sha256:" + hex64 }), part: inToolchain},
	{name: "no path", change: inPackage(func(p *images.Package) { p.Path = "" }), part: inToolchain},
	{name: "an absolute path", change: inPackage(func(p *images.Package) { p.Path = "/" + p.Path }), part: inToolchain},
	{name: "a path upwards", change: inPackage(func(p *images.Package) { p.Path = "pool/../../x_1_all.deb" }), part: inToolchain},
	{name: "a path that stands still", change: inPackage(func(p *images.Package) { p.Path = "pool/./x_1_all.deb" }), part: inToolchain},
	{name: "a path with an empty folder", change: inPackage(func(p *images.Package) { p.Path = "pool//x_1_all.deb" }), part: inToolchain},
	{name: "a path of two words", change: inPackage(func(p *images.Package) { p.Path = "pool/a b_1_all.deb" }), part: inToolchain},
	{name: "a path to something else", change: inPackage(func(p *images.Package) { p.Path = "pool/x.tar" }), part: inToolchain},
	{name: "an address for a path", change: inPackage(func(p *images.Package) { p.Path = "https://x.example/x_1_all.deb" }), part: inToolchain},
	{name: "an empty package", change: inPackage(func(p *images.Package) { p.Size = 0 }), part: inToolchain},
	{name: "less than empty", change: inPackage(func(p *images.Package) { p.Size = -1 }), part: inToolchain},
	{name: "a package twice", change: onPlatform(func(p *images.LockPlatform) {
		p.Packages.Toolchain = append(p.Packages.Toolchain, p.Packages.Toolchain[1])
	}), part: inToolchain, beyond: true},
	{name: "a package in two versions", change: onPlatform(func(p *images.LockPlatform) {
		p.Packages.Toolchain[1] = deb("cmake", "3.31.6-3", "9")
	}), part: inToolchain, beyond: true},
	{name: "two packages with one path", change: inPackage(func(p *images.Package) { p.Path = deb("g++", "4:14.2.0-1", "2").Path }), part: inToolchain, beyond: true},
	{name: "two packages with one file name", change: inPackage(func(p *images.Package) { p.Path = "pool/other/g++_14.2.0-1_amd64.deb" }), part: inToolchain, beyond: true},
	{name: "packages in another order", change: onPlatform(func(p *images.LockPlatform) { slices.Reverse(p.Packages.Toolchain) }), part: inToolchain, beyond: true},
	{name: "the GPU's compiler unpinned", change: onPlatform(func(p *images.LockPlatform) { p.Packages.Accelerator = []images.Package{{Name: "cmake"}} }), part: "platforms.linux/amd64.packages.accelerator"},
	{name: "the UI's compiler unpinned", change: onPlatform(func(p *images.LockPlatform) { p.Packages.UI = []images.Package{{Name: "npm"}} }), part: "platforms.linux/amd64.packages.ui"},
	{name: "the image's packages unpinned", change: onPlatform(func(p *images.LockPlatform) {
		p.Packages.Runtime = slices.Clone(p.Packages.Runtime)
		p.Packages.Runtime[1].SHA256 = ""
	}), part: "platforms.linux/amd64.packages.runtime"},
}

func TestBrokenLocks(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, b := range brokenLocks {
		if names[b.name] {
			t.Errorf("two are called %q", b.name)
		}
		names[b.name] = true
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			text := b.text(t)
			if b.name == "half of it" {
				text, _, _ = strings.Cut(text, "\x00")
			}
			l, err := images.DecodeLock([]byte(text))
			if err == nil {
				_, _, err = l.Locked("linux/amd64", nil, scripts)
			}
			if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), b.part) {
				t.Fatalf("class %d, %v: want a usage fault that names %s", fault.ClassOf(err), err, b.part)
			}
			if !strings.Contains(fault.Report(err), "llorch-bk lock") {
				t.Errorf("no way out: %s", fault.Report(err))
			}
		})
	}
	for name, data := range map[string]string{"nothing": "", "another kind of JSON": "[]", "a word": `"lock"`} {
		if _, err := images.DecodeLock([]byte(data)); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}
