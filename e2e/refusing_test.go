package e2e

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// refusing is a registry on loopback that counts what is written, and can refuse some.
type refusing struct {
	host string
	// written counts requests that change something.
	written atomic.Int64
	refused atomic.Pointer[string]
}

func newRefusing(t *testing.T) *refusing {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r := &refusing{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if part := r.refused.Load(); part != nil && *part != "" && strings.Contains(req.URL.Path, *part) {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"no"}]}`, http.StatusForbidden)
			return
		}
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			r.written.Add(1)
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	r.host = strings.TrimPrefix(srv.URL, "http://")
	return r
}

// refuse makes the registry refuse whatever has this in its path; nothing for "".
func (r *refusing) refuse(part string) { r.refused.Store(&part) }
