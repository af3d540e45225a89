package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/moby/buildkit/client"
)

// builder is a buildkitd of the bench's own, from the module that go.mod pins.
type builder struct {
	dir, bin, addr string
	cmd            *exec.Cmd
}

func newBuilder(ctx context.Context, dir string) (*builder, error) {
	b := &builder{dir: dir, bin: filepath.Join(dir, "buildkitd"), addr: "unix://" + filepath.Join(dir, "sock")}
	if err := command(ctx, "", "go", "build", "-o", b.bin, "github.com/moby/buildkit/cmd/buildkitd"); err != nil {
		return nil, err
	}
	return b, b.start(ctx)
}

func (b *builder) root() string { return filepath.Join(b.dir, "root") }

func (b *builder) start(ctx context.Context) error {
	out, err := os.OpenFile(filepath.Join(b.dir, "buildkitd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	// Not CommandContext, which would kill it: stop ends it in order.
	b.cmd = exec.CommandContext(context.WithoutCancel(ctx), b.bin, "--addr", b.addr, "--root", b.root(), "--containerd-worker=false", "--oci-worker=true")
	b.cmd.Stdout, b.cmd.Stderr = out, out
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	c, err := client.New(ctx, b.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err = c.ListWorkers(ctx); err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("buildkitd does not answer: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// empty starts the builder anew with nothing in it, as on an ephemeral runner.
func (b *builder) empty(ctx context.Context) error {
	b.stop()
	return b.start(ctx)
}

// stop ends the daemon and removes what it had.
func (b *builder) stop() {
	if b.cmd == nil || b.cmd.Process == nil {
		return
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	_ = b.cmd.Wait()
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], b.dir) {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
	_ = os.RemoveAll(b.root())
	b.cmd = nil
}

// registryServer is a registry on loopback that keeps its blobs on disk.
type registryServer struct {
	addr   string
	server *http.Server
}

func serveRegistry(ctx context.Context, dir string) (*registryServer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)), registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "bench: the registry ended:", err)
		}
	}()
	return &registryServer{addr: l.Addr().String(), server: s}, nil
}

func (r *registryServer) close() { _ = r.server.Close() }

// cache is the name of the layer cache.
func (r *registryServer) cache() string { return r.addr + "/cache:llama" }
