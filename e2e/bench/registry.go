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
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

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
