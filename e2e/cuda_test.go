package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	endian "encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// standIn converts Debian's CUDA toolkit to the layout of NVIDIA's devel images: everything
// below /usr/local/cuda, and nothing at Debian's paths.
const standIn = `set -eu
sed -i -E '/^Components:/s/$/ contrib non-free/; /^deb /s/$/ contrib non-free/' $(find /etc/apt -name '*.list' -o -name '*.sources')
rm -f /etc/apt/apt.conf.d/docker-clean
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -o APT::Keep-Downloaded-Packages=true -o Dpkg::Use-Pty=0 -qq install -y --no-install-recommends nvidia-cuda-toolkit g++-13 >/dev/null
cuda=/usr/local/cuda target=/usr/local/cuda/targets/x86_64-linux
mkdir -p $cuda/bin $cuda/nvvm/bin $target/lib/stubs $target/include
ln -s targets/x86_64-linux/lib $cuda/lib64
ln -s targets/x86_64-linux/include $cuda/include
from=/usr/lib/nvidia-cuda-toolkit
cp -aL $from/bin/. $cuda/bin/
mv $cuda/bin/cicc $cuda/nvvm/bin/ 2>/dev/null || true
cp -aL $from/libdevice $cuda/nvvm/ 2>/dev/null || cp -aL /usr/lib/cuda/nvvm/libdevice $cuda/nvvm/
# CUDA's headers and libraries are those of its packages, and nobody else's.
packages=$(dpkg-query -W -f '${Package}\n' 'libcu*' 'libnv*' 'nvidia-cuda-dev' 'libnpp*' 2>/dev/null)
for f in $(dpkg -L $packages 2>/dev/null | sort -u); do
  [ ! -d "$f" ] || continue
  case $f in
  /usr/include/*) to=$target/include/${f#/usr/include/} ;;
  */stubs/*) to=$target/lib/stubs/${f##*/} ;;
  /usr/lib/x86_64-linux-gnu/*.so* | /usr/lib/x86_64-linux-gnu/*.a) to=$target/lib/${f##*/} ;;
  *) continue ;;
  esac
  mkdir -p "${to%/*}"
  cp -a "$f" "$to"
done
for f in $(dpkg -L $packages 2>/dev/null | grep -E '^/usr/(include|lib)/.*\.(so|a|h|hpp|cuh)'); do rm -f "$f"; done
rm -rf $from /usr/bin/nvcc /usr/lib/cuda
# In Debian's place they are the system's headers, of which a compiler bears that
# they and those of a newer glibc do not agree. NVIDIA's image has an older glibc.
sed -i -E 's/(extern .*[ ](sin|cos)pif?\((double|float) x\));/\1 noexcept (true);/' $target/include/crt/math_functions.h
# NVIDIA's own profile, by which nvcc finds its parts beside itself.
cat >$cuda/bin/nvcc.profile <<'END'
TOP              = $(_HERE_)/..
CICC_PATH        = $(TOP)/nvvm/bin
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
LD_LIBRARY_PATH += $(TOP)/lib:
PATH            += $(CICC_PATH):$(_HERE_):
INCLUDES        +=  "-I$(TOP)/include" $(_SPACE_)
LIBRARIES        =+ $(_SPACE_) "-L$(TOP)/lib64/stubs" "-L$(TOP)/lib64"
CUDAFE_FLAGS    +=
PTXAS_FLAGS     +=
END
# This toolkit takes no newer compiler, and NVIDIA's image has none.
ln -sf g++-13 /usr/bin/g++
ln -sf gcc-13 /usr/bin/gcc
ldconfig
rm -rf /var/lib/apt/lists/*
`

// cudaEnv is NVIDIA's image's environment.
var cudaEnv = []string{"PATH=/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LIBRARY_PATH=/usr/local/cuda/lib64/stubs"}

// counted counts the bytes that a registry sends.
type counted struct {
	next http.Handler
	sent atomic.Int64
}

type countedWriter struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (w countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.sent.Add(int64(n))
	return n, err
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.next.ServeHTTP(countedWriter{w, &c.sent}, r)
}

// TestCUDA builds the graph for NVIDIA's images on a substitute with their layout. Then it
// builds after a change of the server, on an empty builder with a registry cache, and runs the
// image on a machine without a GPU.
func TestCUDA(t *testing.T) {
	gate(t, "LLORCH_E2E_CUDA", "CUDA")
	p := newProject(t)
	reg := &counted{next: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(t.TempDir())))}
	server := httptest.NewServer(reg)
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	first := standalone(t)
	base := host + "/nvidia/cuda:12.8.1-devel-ubuntu24.04"
	makeStandIn(t, p, first.Addr, host+"/debian:trixie-slim", base)

	repo := gitrepo.New(t, tinyengine.Tree())
	const tag = "llorch-e2e:cuda"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	cache := host + "/cache:cuda"
	build := func(addr string, more ...string) []string {
		return append([]string{"build", "--builder", addr, "--source", repo.Dir, "--ref", "HEAD", "--cuda", "--cuda-arch", "86", "--base", "gpu=" + base, "--cpu", "native", "--tag", tag, "--progress", "plain"}, more...)
	}
	r := p.must(build(first.Addr, "--cache-to", cache)...)
	if !strings.Contains(r.stderr, "Building CUDA object") {
		t.Errorf("nvcc compiled nothing:\n%s", tail(r.stderr, 60))
	}
	whole(t, p, tag)
	first.End()
	first.Remove()

	// A runner with nothing but the registry: a change of the server is no matter of
	// nvcc's, nor of its toolchain, which weighs more than all the rest.
	repo.Commit("change the server", map[string]string{"tools/server/server.c": edited(t, "tools/server/server.c", "changed")})
	second := standalone(t)
	metadata := filepath.Join(p.dir, "metadata.json")
	before, began := reg.sent.Load(), time.Now()
	r = p.must(build(second.Addr, "--cache-from", cache, "--metadata-file", metadata)...)
	t.Logf("after a change of the server, on an empty builder: %.1f s, %.1f MB from the registry", time.Since(began).Seconds(), float64(reg.sent.Load()-before)/1e6)
	if ran := compiled(t, metadata, "CUDA libraries", "ggml-cuda"); !slices.Equal(ran, []string{"llama-server"}) {
		t.Errorf("compiled %q, want the server alone", ran)
	}
	if strings.Contains(r.stderr, "nvcc") || strings.Contains(r.stderr, "Building CUDA") {
		t.Errorf("nvcc was called:\n%s", tail(r.stderr, 60))
	}
	whole(t, p, tag)

	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		return
	}
	began = time.Now()
	if r := p.run("run", tag, "--model", p.model()); r.code != 6 || !strings.Contains(r.stderr, "--allow-cpu") {
		t.Errorf("without a GPU: %s", r)
	}
	t.Logf("without a GPU it ends after %.1f s", time.Since(began).Seconds())
	p.must("run", tag, "--model", p.model(), "--allow-cpu")
	if h, ok := p.handoff("default"); !ok || h.GPU != nil {
		t.Errorf("the handoff is %v %+v", ok, h.GPU)
	}
	p.must("stop")
	p.leftNothing()
}

// TestCUDAReal compiles llama.cpp's CUDA backend with Debian's toolkit, the fallback without
// NVIDIA's images: a quarter of an hour on two cores.
func TestCUDAReal(t *testing.T) {
	gate(t, "LLORCH_E2E_CUDA", "CUDA")
	p := newProject(t)
	reg := &counted{next: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(t.TempDir())))}
	server := httptest.NewServer(reg)
	t.Cleanup(server.Close)
	cache := strings.TrimPrefix(server.URL, "http://") + "/cache:cuda"
	first := standalone(t)
	repo := filepath.Join(t.TempDir(), "llama.cpp")
	source := realSource(t)
	git(t, "", "clone", "--quiet", source[1], repo)
	if len(source) > 2 {
		git(t, repo, "checkout", "--quiet", source[3])
	}
	const tag = "llorch-e2e:cuda-real"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	build := func(addr string, more ...string) []string {
		return append([]string{
			"build", "--builder", addr, "--source", repo, "--ref", "HEAD", "--variant", "cuda-debian", "--cuda-arch", "86", "--cmake-flag", "-DGGML_CUDA_FA=OFF",
			"--cpu", "native", "--tag", tag, "--progress", "plain",
		}, more...)
	}
	began := time.Now()
	p.must(build(first.Addr, "--cache-to", cache)...)
	t.Logf("cold, one architecture, with the cache's export: %.0f s", time.Since(began).Seconds())
	whole(t, p, tag)
	code, ptx := cudaCode(t, p, tag)
	if !slices.Equal(code, []uint32{86}) || !slices.Equal(ptx, []uint32{86}) {
		t.Errorf("the image has machine code for %v and PTX of %v", code, ptx)
	}
	first.End()
	first.Remove()

	file := filepath.Join(repo, "tools", "server", "server.cpp")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, "extern \"C\" int llorch_changed(void);\nint llorch_changed(void) { return 1; }\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, repo, "-c", "user.name=e2e", "-c", "user.email=e2e@example.com", "commit", "--quiet", "-am", "change the server")
	second := standalone(t)
	metadata := filepath.Join(p.dir, "metadata.json")
	before, began := reg.sent.Load(), time.Now()
	r := p.must(build(second.Addr, "--cache-from", cache, "--metadata-file", metadata)...)
	t.Logf("after a change of the server, on an empty builder: %.1f s, %.1f MB from the registry", time.Since(began).Seconds(), float64(reg.sent.Load()-before)/1e6)
	if ran := compiled(t, metadata, "CUDA libraries", "ggml-cuda"); !slices.Equal(ran, []string{"llama-server"}) {
		t.Errorf("compiled %q, want the server alone", ran)
	}
	if strings.Contains(r.stderr, "nvcc") || strings.Contains(r.stderr, "Building CUDA") {
		t.Errorf("nvcc was called:\n%s", tail(r.stderr, 60))
	}
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		return
	}
	ref := realModel(t, p)
	if r := p.run("run", tag, "--model", ref); r.code != 6 {
		t.Errorf("without a GPU: %s", r)
	}
	p.must("run", tag, "--model", ref, "--allow-cpu")
	h, _ := p.handoff("default")
	if k, ok := known[filepath.Base(h.Model.Path)]; ok {
		code, body := answer(t, http.MethodPost, h.URL+"/completion", map[string]any{"prompt": k.prompt, "n_predict": 24, "temperature": 0})
		var got struct{ Content string }
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK || got.Content != k.completion {
			t.Errorf("/completion: %d %s", code, body)
		}
	}
	p.must("stop")
	p.leftNothing()
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// cudaCode are the architectures of the machine code and PTX in an image's CUDA backend. It
// reads the headers of the fat binaries, as cuobjdump does.
func cudaCode(t *testing.T, p *project, tag string) (code, ptx []uint32) {
	t.Helper()
	made, err := p.api.ContainerCreate(t.Context(), &container.Config{Image: tag, Entrypoint: []string{"/app/llama-server"}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = p.api.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true})
	}()
	archive, _, err := p.api.CopyFromContainer(t.Context(), made.ID, "/app/libggml-cuda.so")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	r := tar.NewReader(archive)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	section := f.Section(".nv_fatbin")
	if section == nil {
		t.Fatal("the backend has no CUDA code")
	}
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	// A fat binary: magic, version and header's size in two bytes each, size of what
	// follows; in it entries of kind (1 PTX, 2 machine code), header's size, size …, and
	// at 28 the architecture.
	const magic = 0xba55ed50
	le := endian.LittleEndian
	for at := 0; at+16 <= len(data); at += 8 {
		if le.Uint32(data[at:]) != magic {
			continue
		}
		end := min(at+int(le.Uint16(data[at+6:]))+int(le.Uint64(data[at+8:])), len(data)) //nolint:gosec // of one file
		for e := at + int(le.Uint16(data[at+6:])); e+32 <= end; {
			kind, header, size, arch := le.Uint16(data[e:]), int(le.Uint32(data[e+4:])), int(le.Uint64(data[e+8:])), le.Uint32(data[e+28:]) //nolint:gosec // as above
			switch {
			case kind == 1 && !slices.Contains(ptx, arch):
				ptx = append(ptx, arch)
			case kind == 2 && !slices.Contains(code, arch):
				code = append(code, arch)
			}
			if header <= 0 || size < 0 {
				break
			}
			e += header + size
		}
	}
	slices.Sort(code)
	slices.Sort(ptx)
	return code, ptx
}

// whole checks that, of the libraries that the CUDA backend links, the image lacks only the
// driver's, and that it has no stub and no other part of CUDA.
func whole(t *testing.T, p *project, tag string) {
	t.Helper()
	out := inImage(t, p, tag, "/lib64/ld-linux-x86-64.so.2", "--list", "/app/libggml-cuda.so")
	var missing []string
	for line := range strings.Lines(out) {
		if library, _, ok := strings.Cut(strings.TrimSpace(line), " => not found"); ok {
			missing = append(missing, library)
		}
	}
	if !slices.Equal(missing, []string{"libcuda.so.1"}) {
		t.Errorf("missing are %q in:\n%s", missing, out)
	}
	var libraries []string
	for _, f := range namesIn(t, p, tag) {
		if base := path.Base(f); strings.HasPrefix(base, "libcu") || strings.HasPrefix(base, "libnv") || strings.Contains(f, "stubs") {
			if !strings.HasPrefix(f, "/usr/share/") && !strings.HasPrefix(f, "/var/lib/dpkg/") {
				libraries = append(libraries, f)
			}
		}
	}
	slices.Sort(libraries)
	if want := []string{"/app/libcublas.so.12", "/app/libcublasLt.so.12", "/app/libcudart.so.12"}; !slices.Equal(libraries, want) {
		t.Errorf("of CUDA the image has %q", libraries)
	}
}

// makeStandIn puts an image with the layout of NVIDIA's into a registry.
func makeStandIn(t *testing.T, p *project, builder, debian, ref string) {
	t.Helper()
	pushFromEngine(t, p, "llorch.local/debian:trixie-slim", debian)
	c, err := client.New(t.Context(), builder)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	amd64 := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	state := llb.Image(debian, llb.Platform(amd64)).AddEnv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").
		Run(llb.Args([]string{"/bin/sh", "-c", standIn}), llb.WithCustomName("stand-in for NVIDIA's image")).Root()
	def, err := state.Marshal(t.Context(), llb.Platform(amd64))
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(ocispec.Image{Platform: amd64, Config: ocispec.ImageConfig{Env: cudaEnv}, RootFS: ocispec.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Build(t.Context(), client.SolveOpt{
		FrontendAttrs: map[string]string{},
		Exports:       []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": ref, "push": "true", "compression-level": "1"}}},
	}, "", func(ctx context.Context, g gateway.Client) (*gateway.Result, error) {
		res, err := g.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
		if err == nil {
			res.AddMeta(exptypes.ExporterImageConfigKey, config)
		}
		return res, err
	}, nil)
	if err != nil {
		t.Fatalf("the stand-in: %v", err)
	}
}

// pushFromEngine puts an image of the engine into a registry.
func pushFromEngine(t *testing.T, p *project, from, to string) {
	t.Helper()
	saved, err := p.api.ImageSave(t.Context(), []string{from})
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	archive := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, saved)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, img)
}

// namesIn are the paths of all files in an image.
func namesIn(t *testing.T, p *project, tag string) []string {
	t.Helper()
	c, err := p.api.ContainerCreate(t.Context(), &container.Config{Image: tag}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.api.ContainerRemove(t.Context(), c.ID, container.RemoveOptions{Force: true})
	r, err := p.api.ContainerExport(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, "/"+h.Name)
	}
}

// inImage runs a command in an image and returns what it printed.
func inImage(t *testing.T, p *project, image string, cmd ...string) string {
	t.Helper()
	made, err := p.api.ContainerCreate(t.Context(), &container.Config{Image: image, Entrypoint: cmd[:1], Cmd: cmd[1:], User: "0"}, &container.HostConfig{LogConfig: container.LogConfig{Type: "json-file"}}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.api.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}()
	if err := p.api.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	done, failed := p.api.ContainerWait(t.Context(), made.ID, container.WaitConditionNotRunning)
	select {
	case <-done:
	case err := <-failed:
		t.Fatal(err)
	}
	r, err := p.api.ContainerLogs(t.Context(), made.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out strings.Builder
	if _, err := stdcopy.StdCopy(&out, &out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
