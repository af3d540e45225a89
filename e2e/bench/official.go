package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/llorch/llorch-bk/fixtures/llamasrc"
	"github.com/llorch/llorch-bk/llb/base"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"
)

// bundleOf is a release of llama.cpp as a git bundle.
func bundleOf(ctx context.Context, release llamasrc.Source) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return release.Bundle(ctx, filepath.Join(cache, "llorch-bk", "demo"))
}

// The commands of llama.cpp's .devops/cpu.Dockerfile, on Debian instead of Ubuntu, because
// this bench's base is Debian. The stage for the web UI is left out: neither side builds it
// here. ffmpeg counts for the image's size, but not for the times, which it would increase.
const (
	officialPackages = "apt-get update && apt-get install -y gcc-14 g++-14 build-essential git cmake libssl-dev"
	officialConfig   = "cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DLLAMA_BUILD_TESTS=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON -DLLAMA_USE_PREBUILT_UI=OFF"
	officialBuild    = "cmake --build build -j $(nproc)"
	officialLibs     = `mkdir -p /app/lib /app/full && find build -name "*.so*" -exec cp -P {} /app/lib ';' && cp build/bin/llama-server /app/full`
	officialRuntime  = "apt-get update && apt-get install -y libgomp1 curl && apt-get autoremove -y && apt-get clean -y && rm -rf /tmp/* /var/tmp/* /var/lib/apt/lists/*"
)

const officialWhole = "apt-get update && apt-get install -y libgomp1 curl ffmpeg && apt-get autoremove -y && apt-get clean -y && rm -rf /tmp/* /var/tmp/* /var/lib/apt/lists/*"

// runtimeWeight is the gzipped size of the base with some packages.
func (b *bench) runtimeWeight(ctx context.Context, packages string) (int64, error) {
	debian, store, err := debianBase()
	if err != nil {
		return 0, err
	}
	def, err := debian.Run(llb.Args([]string{"/bin/sh", "-c", packages}), llb.WithCustomName("runtime")).Root().Marshal(ctx)
	if err != nil {
		return 0, err
	}
	c, err := client.New(ctx, b.builder.Addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	out, err := os.CreateTemp(b.dir, "runtime-*.tar")
	if err != nil {
		return 0, err
	}
	file := out.Name()
	if _, err := c.Solve(ctx, def, client.SolveOpt{
		OCIStores: map[string]content.Store{"base": store},
		Exports:   []client.ExportEntry{{Type: client.ExporterDocker, Output: func(map[string]string) (io.WriteCloser, error) { return out, nil }}},
	}, nil); err != nil {
		return 0, err
	}
	archive, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer archive.Close()
	return layersGzipped(archive)
}

// debianBase is the base of both sides, and its content store.
func debianBase() (llb.State, content.Store, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return llb.State{}, nil, err
	}
	found, ok, err := base.Find(filepath.Join(cache, "llorch-bk", "bases"), base.DefaultSuite, runtime.GOARCH)
	if err != nil || !ok {
		return llb.State{}, nil, errors.Join(err, errors.New("there is no bootstrapped base: run make setup"))
	}
	store, err := found.Store()
	ref := found.Ref[:strings.LastIndex(found.Ref, ":")] + "@" + found.Manifest.Digest.String()
	return llb.OCILayout(ref, llb.OCIStore("", "base")).AddEnv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").AddEnv("DEBIAN_FRONTEND", "noninteractive"), store, err
}

// official builds with llama.cpp's own steps. It returns the time, and the part of it for the
// toolchain's packages.
func (b *bench) official(ctx context.Context, serverOnly bool) (all, packages time.Duration, err error) {
	debian, store, err := debianBase()
	if err != nil {
		return 0, 0, err
	}
	sh := func(st llb.State, name, script string) llb.State {
		return st.Run(llb.Args([]string{"/bin/sh", "-c", script}), llb.WithCustomName(name)).Root()
	}
	target := officialBuild
	if serverOnly {
		target += " --target llama-server"
	}
	toolchain := sh(debian, "packages", officialPackages).AddEnv("CC", "gcc-14").AddEnv("CXX", "g++-14").Dir("/app")
	tree := toolchain.File(llb.Copy(llb.Local("source", llb.ExcludePatterns([]string{".git"})), "/", "/app/", &llb.CopyInfo{CopyDirContentsOnly: true}))
	built := sh(sh(tree, "compile", officialConfig+" && "+target), "lay out", officialLibs)
	image := sh(debian, "runtime", officialRuntime).
		File(llb.Copy(built, "/app/lib/", "/app/", &llb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true})).
		File(llb.Copy(built, "/app/full/llama-server", "/app/"))
	def, err := image.Marshal(ctx)
	if err != nil {
		return 0, 0, err
	}
	fs, err := fsutil.NewFS(b.repo)
	if err != nil {
		return 0, 0, err
	}
	c, err := client.New(ctx, b.builder.Addr)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	ch := make(chan *client.SolveStatus)
	var done sync.WaitGroup
	done.Go(func() {
		for s := range ch {
			for _, v := range s.Vertexes {
				if v.Name == "packages" && v.Completed != nil && v.Started != nil {
					packages = v.Completed.Sub(*v.Started)
				}
			}
		}
	})
	// Stored, as our image is loaded into an engine; the case speed loads it.
	out, err := os.Create(filepath.Join(b.dir, "official.tar"))
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	_, err = c.Solve(ctx, def, client.SolveOpt{
		LocalMounts: map[string]fsutil.FS{"source": fs},
		OCIStores:   map[string]content.Store{"base": store},
		Exports: []client.ExportEntry{{
			Type: client.ExporterDocker, Attrs: map[string]string{"name": officialTag},
			Output: func(map[string]string) (io.WriteCloser, error) { return out, nil },
		}},
	}, ch)
	done.Wait()
	return time.Since(began), packages, err
}

// counter counts the bytes that are written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
