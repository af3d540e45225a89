package health_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/health"
)

// The same over a real connection, with the client that is used in earnest.
func TestRealConnection(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/props":
			_, _ = io.WriteString(w, `{"build_info":"b1-abc","model_path":"/m.gguf","total_slots":2,"chat_template":"x"}`)
		case r.URL.Path != "/health":
			http.NotFound(w, r)
		case asked.Add(1) < 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = io.WriteString(w, `{"status":"ok"}`)
		}
	}))
	t.Cleanup(ts.Close)
	if err := health.Wait(t.Context(), real{play(), ts.URL}, health.Options{Timeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	p, err := health.AskProps(t.Context(), nil, ts.URL)
	if err != nil {
		t.Fatal(err)
	}
	if want := (health.Props{BuildInfo: "b1-abc", ModelPath: "/m.gguf", TotalSlots: 2}); p != want {
		t.Errorf("props %+v, want %+v", p, want)
	}
	if _, err := health.AskProps(t.Context(), nil, ts.URL+"/nowhere"); err == nil {
		t.Error("a 404 gave props")
	}
}

type real struct {
	*server
	url string
}

func (r real) URL() string { return r.url }

// A redirect is another server's answer.
func TestRedirectIsNotReady(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	}))
	t.Cleanup(other.Close)
	ts := httptest.NewServer(http.RedirectHandler(other.URL+"/health", http.StatusFound))
	t.Cleanup(ts.Close)
	err := health.Wait(t.Context(), real{play(), ts.URL}, health.Options{Timeout: 300 * time.Millisecond})
	if fault.ClassOf(err) != fault.NotReady || !strings.Contains(err.Error(), "302") {
		t.Errorf("error %v", err)
	}
}
