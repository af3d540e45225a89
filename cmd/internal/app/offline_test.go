package app

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/bundle"
	"github.com/llorch/llorch-bk/llb/source"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const amd64 = "linux/amd64"

// away is an App of a machine without a network.
func away(t *testing.T) (*App, *bundle.Store) {
	t.Helper()
	cache := t.TempDir()
	a := &App{Out: io.Discard, Err: io.Discard, Progress: "quiet", Getenv: func(name string) string {
		return map[string]string{"LLORCH_CACHE_DIR": cache, "HOME": cache}[name]
	}}
	s, err := a.bundles()
	if err != nil {
		t.Fatal(err)
	}
	return a, s
}

func blob(t *testing.T, s *bundle.Store, mediaType, text string, annotations map[string]string) ocispec.Descriptor {
	t.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text)), Annotations: annotations}
	if _, err := s.Put(t.Context(), d.Digest, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return d
}

// nothingKept is a lock of which a machine has nothing.
func nothingKept(commit string) images.Lock {
	pkg := func(name string) images.Package {
		return images.Package{Name: name, Version: "1.0", Architecture: "amd64", SHA256: digest.FromString(name).Encoded(), Size: int64(len(name)), Path: "pool/" + name + "_1.0_amd64.deb"}
	}
	return images.Lock{
		Schema: images.LockSchema, Recipe: images.Recipe(llb.ScriptsDigest()),
		Source:  images.LockSource{Repository: "https://example.com/llama", Commit: commit, Time: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), UILock: digest.FromString("ui").String()},
		Request: images.LockRequest{Variant: "cpu", CPU: "x86-64-v3"},
		Platforms: map[string]images.LockPlatform{amd64: {
			Build:    images.BaseFacts{Ref: "docker.io/library/debian:trixie-slim", Digest: digest.FromString("base").String()},
			Packages: images.PackageSets{Toolchain: []images.Package{pkg("cmake")}, UI: []images.Package{pkg("nodejs")}, Runtime: []images.Package{pkg("libc6")}},
		}},
	}
}

func offlineBuild(change func(*BuildOptions)) BuildOptions {
	opt := BuildOptions{Request: images.Request{Source: images.DefaultRepository, Variant: "cpu", CPU: images.CPUPortable, Platform: amd64}, Offline: true}
	if change != nil {
		change(&opt)
	}
	return opt
}

// What is missing is said all at once, each by name, and nothing is asked for.
func TestOfflineNamesAllThatIsMissing(t *testing.T) {
	t.Parallel()
	repo := gitrepo.New(t, tinyengine.Tree())
	commit := repo.Head()
	lock := nothingKept(commit)
	cmake := lock.Platforms[amd64].Packages.Toolchain[0]
	for name, c := range map[string]struct {
		keep    func(t *testing.T, s *bundle.Store) []ocispec.Descriptor
		change  func(*BuildOptions)
		missing []string
		here    []string
	}{
		"everything": {
			missing: []string{"6 things", "the base docker.io/library/debian:trixie-slim", "the package cmake 1.0 (toolchain)", "the package nodejs 1.0 (ui)", "the package libc6 1.0 (runtime)", "the source, commit " + commit, "npm packages"},
		},
		"all but a package": {
			keep: func(t *testing.T, s *bundle.Store) []ocispec.Descriptor {
				return []ocispec.Descriptor{blob(t, s, bundle.PackageType, "cmake", nil)}
			},
			missing: []string{"5 things", "libc6"}, here: []string{cmake.Name},
		},
		// Of a tree that has no web UI nothing is wanted for one, and the source is here.
		"of a patched tree": {
			change:  func(o *BuildOptions) { o.Patched, o.Request.Source = true, repo.Dir },
			missing: []string{"3 things", "debian:trixie-slim", "cmake", "libc6"}, here: []string{"the source", "nodejs", "npm"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, s := away(t)
			var blobs []ocispec.Descriptor
			if c.keep != nil {
				blobs = c.keep(t, s)
			}
			if _, err := s.Keep(t.Context(), lock, amd64, blobs, nil); err != nil {
				t.Fatal(err)
			}
			_, err := a.resolve(t.Context(), nil, true, offlineBuild(c.change))
			var f *fault.Fault
			if fault.ClassOf(err) != fault.Machine || !errors.As(err, &f) || !strings.Contains(f.Do, "bundle create") {
				t.Fatalf("%v: want a machine fault with the way out", err)
			}
			for _, m := range c.missing {
				if !strings.Contains(err.Error(), m) {
					t.Errorf("%v: lacks %q", err, m)
				}
			}
			for _, h := range c.here {
				if strings.Contains(err.Error(), h) {
					t.Errorf("%v: names %q, which is not missing", err, h)
				}
			}
		})
	}
}

// Which lock is meant must be plain.
func TestOfflineLock(t *testing.T) {
	t.Parallel()
	one, two := nothingKept(strings.Repeat("1", 40)), nothingKept(strings.Repeat("2", 40))
	file := func(t *testing.T, l images.Lock) string {
		t.Helper()
		data, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "x.lock")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		loaded []images.Lock
		change func(*BuildOptions)
		class  fault.Class
		says   string
		commit string
	}{
		"none was loaded":     {class: fault.Machine, says: "no bundle for linux/amd64 was loaded"},
		"one was loaded":      {loaded: []images.Lock{one}, commit: one.Source.Commit},
		"several were loaded": {loaded: []images.Lock{one, two}, class: fault.Usage, says: "several bundles"},
		"one of several":      {loaded: []images.Lock{one, two}, change: func(o *BuildOptions) { o.OfflineLock = file(t, two) }, commit: two.Source.Commit},
		"by --locked":         {loaded: []images.Lock{one, two}, change: func(o *BuildOptions) { o.Locked = file(t, one) }, commit: one.Source.Commit},
		"another platform":    {loaded: []images.Lock{one}, change: func(o *BuildOptions) { o.Request.Platform = "linux/arm64" }, class: fault.Machine, says: "no bundle for linux/arm64"},
		"a push":              {change: func(o *BuildOptions) { o.Output.Push = true }, class: fault.Usage, says: "--push"},
		"a registry's cache":  {change: func(o *BuildOptions) { o.CacheFrom = []string{"registry.example.com/x"} }, class: fault.Usage, says: "layer cache"},
		"a registry's kept":   {change: func(o *BuildOptions) { o.KeptAt = "oci://registry.example.com/x" }, class: fault.Usage, says: "--kept"},
		"a remote source":     {change: func(o *BuildOptions) { o.Patched = true }, class: fault.Usage, says: "--source https://"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, s := away(t)
			for _, l := range c.loaded {
				if _, err := s.Keep(t.Context(), l, amd64, nil, nil); err != nil {
					t.Fatal(err)
				}
			}
			o, err := a.openOffline(offlineBuild(c.change))
			if c.says != "" {
				if fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want one of class %d that says %q", err, c.class, c.says)
				}
				return
			}
			if err != nil || o.lock.Source.Commit != c.commit {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
}

// A locked source comes out of the bundle, and says of itself what it would say online.
func TestOfflineSource(t *testing.T) {
	t.Parallel()
	repo := gitrepo.New(t, tinyengine.Tree())
	a, s := away(t)
	lock := nothingKept(repo.Head())
	lock.Source.Time = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	lock.Source.UILock, lock.Request.NoUI = "", true
	p := lock.Platforms[amd64]
	p.Packages.UI = nil
	config := blob(t, s, ocispec.MediaTypeImageConfig, "{}", nil)
	base := blob(t, s, ocispec.MediaTypeImageManifest, `{"config":{"digest":"`+config.Digest.String()+`"}}`, nil)
	p.Build.Digest = base.Digest.String()
	lock.Platforms[amd64] = p
	packed := filepath.Join(t.TempDir(), "packed")
	if err := (source.Resolver{}).Pack(t.Context(), repo.Dir, repo.Head(), packed); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	blobs := []ocispec.Descriptor{
		blob(t, s, bundle.PackageType, "cmake", nil), blob(t, s, bundle.PackageType, "libc6", nil),
		blob(t, s, bundle.SourceType, string(data), map[string]string{bundle.AnnotationCommit: repo.Head()}),
	}
	if _, err := s.Keep(t.Context(), lock, amd64, blobs, []ocispec.Descriptor{base}); err != nil {
		t.Fatal(err)
	}
	w, err := a.resolve(t.Context(), nil, true, offlineBuild(nil))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := w.plan()
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.Image.Labels["org.opencontainers.image.source"]; got != lock.Source.Repository || plan.Source.Commit != repo.Head() || plan.Source.Location != lock.Source.Repository {
		t.Errorf("%+v, labels %v", plan.Source, plan.Image.Labels)
	}
	if w.checkout.Content == nil {
		t.Error("there is no tree to send")
	}
	k, err := a.kept(t.Context(), nil, w)
	if err != nil {
		t.Fatal(err)
	}
	all := k.all(images.Facts{})
	if file, ok := all.Package(digest.FromString("cmake").Encoded()); !ok || file != s.Path(digest.FromString("cmake")) || all.Images == nil {
		t.Errorf("%s, %v, %v", file, ok, all.Images)
	}
	// A patched tree is built with the same, and is not the lock's.
	repo.Commit("a patch", map[string]string{"common/patch.c": "int patch;\n"})
	w, err = a.resolve(t.Context(), nil, true, offlineBuild(func(o *BuildOptions) {
		o.Patched, o.Request.Source, o.Chosen, o.Request.CMakeFlags = true, repo.Dir, []string{"source", "cmake-flag"}, []string{"-DLLAMA_CURL=OFF"}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if plan, err = w.plan(); err != nil {
		t.Fatal(err)
	}
	if plan.Source.Commit != repo.Head() || len(w.lock) > 0 || w.locked != nil || !images.Pinned(plan.Packages) || plan.CPU.Level != "x86-64-v3" || !slices.Contains(plan.CMake.Flags, "-DLLAMA_CURL=OFF") {
		t.Errorf("%+v, %v", plan.Source, plan.Packages)
	}
}
