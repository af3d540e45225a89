package model

import (
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
)

func TestWeb(t *testing.T) {
	t.Parallel()
	want := aModel(size, 21)
	for name, c := range map[string]struct {
		prepare func(h *hub.Hub) string
		fails   []string
		notes   string
		// again says that nothing tells the file from another of its size, so that it is
		// fetched again.
		again bool
	}{
		"etag":             {prepare: func(h *hub.Hub) string { return h.Serve("d/m.gguf", `"v1"`, want) }, notes: "not verified against anything"},
		"nothing to go by": {prepare: func(h *hub.Hub) string { return h.Serve("d/m.gguf", "", want) }, again: true},
		"weak etag":        {prepare: func(h *hub.Hub) string { return h.Serve("d/m.gguf", `W/"v1"`, want) }, again: true},
		"an old date": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", hub.Always, hub.Header(map[string]string{"Last-Modified": "Thu, 01 Jan 2026 11:00:00 GMT"}))
			return h.Serve("d/m.gguf", "", want)
		}},
		"a date of just now": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", hub.Always, hub.Header(map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}))
			return h.Serve("d/m.gguf", "", want)
		}, again: true},
		"called a page": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", hub.Always, hub.Header(map[string]string{"Content-Type": "text/html; charset=utf-8"}))
			return h.Serve("d/m.gguf", `"v1"`, want)
		}},
		"right hash": {prepare: func(h *hub.Hub) string { return h.Serve("m.gguf", `"v1"`, want) + "#sha256=" + sum(want) }},
		"odd name":   {prepare: func(h *hub.Hub) string { return h.Serve("my model (1).gguf", `"v1"`, want) }},
		"no ranges": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", hub.Always, hub.IgnoreRange())
			return h.Serve("m", `"v1"`, want)
		}},
		"cut, nothing to go by": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", 2, hub.Cut(1<<20)) // the probe asks for less
			return h.Serve("m", "", want)
		}, again: true},
		"no length, hash": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", hub.Always, hub.NoLength())
			return h.Serve("m", `"v1"`, want) + "#sha256=" + sum(want)
		}},
		"no length": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", hub.Always, hub.NoLength())
			return h.Serve("m", `"v1"`, want)
		}, fails: []string{"does not say how big", "#sha256="}},
		"wrong hash": {prepare: func(h *hub.Hub) string { return h.Serve("m", `"v1"`, want) + "#sha256=" + someSum }, fails: []string{someSum, sum(want)}},
		"page": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", hub.Always, hub.HTML())
			return h.Serve("org/name/blob/main/m.gguf", `"v1"`, want)
		}, fails: []string{"HTML page", `"Sign in"`, "/resolve/"}},
		"a folder's page": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", hub.Always, hub.HTML())
			return h.Serve("files", `"v1"`, want)
		}, fails: []string{`"Sign in"`, "the URL of the file itself"}},
		"missing": {prepare: func(h *hub.Hub) string { return h.Serve("m", `"v1"`, want) + "x?sig=geheim" }, fails: []string{"404", "check the URL"}},
		"forbidden": {prepare: func(h *hub.Hub) string {
			h.Break(hub.CDN, "", hub.Always, hub.Status(403, ""))
			return h.Serve("m", `"v1"`, want)
		}, fails: []string{"403", "expired"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Environment.Token = "geheim"
			raw := c.prepare(r.hub)
			if c.fails != nil {
				_, err := r.fetch(t, raw)
				wantFault(t, err, fault.Model, c.fails...)
				if strings.Contains(fault.Report(err), "geheim") {
					t.Errorf("the fault shows the query: %v", err)
				}
				if left := tree(t, r.Store.Dir()); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			} else {
				r.must(t, raw, want)
				if c.notes != "" && !r.events.said(c.notes) {
					t.Errorf("no note says %q: %q", c.notes, r.events.notes)
				}
				sent := r.hub.Sent()
				r.must(t, raw, want)
				if again := r.hub.Sent() - sent; (again >= size) != c.again && !strings.Contains(name, "no ranges") {
					t.Errorf("%d bytes for what was there", again)
				}
				if c.again && !r.events.said("it is fetched again") {
					t.Errorf("it was not said why: %q", r.events.notes)
				}
			}
			for _, q := range r.hub.Requests() {
				if q.Authorization != "" {
					t.Errorf("the Hub's token went to another host: %+v", q)
				}
			}
		})
	}
}

func TestWebFileChanges(t *testing.T) {
	t.Parallel()
	r, one, two := newRig(t), aModel(size, 22), aModel(size, 23)
	url := r.hub.Serve("m.gguf", `"v1"`, one)
	r.must(t, url, one)
	r.hub.Serve("m.gguf", `"v2"`, two)
	r.must(t, url, two)
	// A hash finds content that was fetched without one, with no request.
	asked := len(r.hub.Requests())
	r.must(t, url+"#sha256="+sum(one), one)
	if got := len(r.hub.Requests()) - asked; got != 0 {
		t.Errorf("%d requests for known content", got)
	}
}

// A file that is replaced by one of its size is noticed, whatever the server says of it.
func TestWebFileOfTheSameSize(t *testing.T) {
	t.Parallel()
	for name, etag := range map[string]string{"nothing": "", "weak ETag": `W/"v1"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, one, two := newRig(t), aModel(size, 27), aModel(size, 28)
			url := r.hub.Serve("m.gguf", etag, one)
			first := r.must(t, url, one)
			mapped, err := os.Stat(first.Path)
			if err != nil {
				t.Fatal(err)
			}
			// The same bytes again are the same file: a server may have it mapped.
			again := r.must(t, url, one)
			if now, err := os.Stat(again.Path); err != nil || !os.SameFile(now, mapped) || again.Path != first.Path {
				t.Errorf("the same content is another file: %v", err)
			}
			r.hub.Serve("m.gguf", etag, two)
			r.must(t, url, two)
			r.Environment.Offline = true
			r.must(t, url, two)
		})
	}
}

func TestWebFileChangesUnderWay(t *testing.T) {
	t.Parallel()
	r, one, two := newRig(t), aModel(size, 24), aModel(size+1, 25)
	url := r.hub.Serve("m.gguf", `"v1"`, one)
	r.Chunk = 1 << 20
	r.events.set = func(done int64) {
		if done == 1<<20 {
			r.hub.Serve("m.gguf", `"v2"`, two)
		}
	}
	r.must(t, url, two)
}

// TestNoDowngrade follows no redirect from https to http.
func TestNoDowngrade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain := r.hub.Serve("m.gguf", `"v1"`, aModel(size, 26))
	s := httptest.NewUnstartedServer(http.RedirectHandler(plain, http.StatusFound))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the client that does not trust it
	s.StartTLS()
	t.Cleanup(s.Close)
	r.Transport = s.Client().Transport
	_, err := r.fetch(t, s.URL+"/m.gguf")
	wantFault(t, err, fault.Model, "without encryption")
	if len(r.hub.Requests()) != 0 {
		t.Errorf("requests: %+v", r.hub.Requests())
	}
	r.Transport = nil
	_, err = r.fetch(t, s.URL+"/m.gguf")
	wantFault(t, err, fault.Model, "certificate", "SSL_CERT_FILE")
	r.Environment.Roots = x509.NewCertPool()
	r.Environment.Roots.AddCert(s.Certificate())
	_, err = r.fetch(t, s.URL+"/m.gguf")
	wantFault(t, err, fault.Model, "without encryption")
	if len(r.clock.all()) != 0 {
		t.Errorf("an unknown certificate was tried %d times more", len(r.clock.all()))
	}
}
