package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images"
)

// lockChange is a change of a lock, or of its surroundings, and the expected refusal.
type lockChange struct {
	change func(*images.Lock, *images.LockPlatform)
	code   int
	says   []string
}

// lockRefused checks that a build follows its lock or fails and names the part.
func lockRefused(t *testing.T, p *project, builder string, data []byte) {
	t.Helper()
	lock, err := images.DecodeLock(data)
	if err != nil {
		t.Fatal(err)
	}
	const platform = "linux/amd64"
	libc := slices.IndexFunc(lock.Platforms[platform].Packages.Runtime, func(p images.Package) bool { return p.Name == "libc6" })
	answers := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	// mirrored is a package that no archive of the base has, and this mirror alone.
	mirrored := func(h http.HandlerFunc) lockChange {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.Start()
		t.Cleanup(s.Close)
		if h == nil {
			s.Close()
		}
		return lockChange{func(_ *images.Lock, p *images.LockPlatform) {
			p.Snapshots = []string{s.URL + "/debian"}
			p.Packages.Runtime[libc].Path = "pool/main/g/glibc/libc6_0.0-1_amd64.deb"
		}, 4, []string{"libc6_0.0-1_amd64.deb", "cannot be had"}}
	}
	for name, c := range map[string]lockChange{
		"another base": {
			func(_ *images.Lock, p *images.LockPlatform) { p.Build.Digest = "sha256:" + strings.Repeat("1", 64) },
			3,
			[]string{"build_base", strings.Repeat("1", 64)},
		},
		"a commit that is not there": {
			func(l *images.Lock, _ *images.LockPlatform) { l.Source.Commit = strings.Repeat("1", 40) },
			2,
			[]string{strings.Repeat("1", 40)},
		},
		"other files in the commit": {
			func(l *images.Lock, _ *images.LockPlatform) { l.Source.Tree = strings.Repeat("2", 40) },
			2,
			[]string{"source.tree"},
		},
		"another time": {
			func(l *images.Lock, _ *images.LockPlatform) { l.Source.Time = l.Source.Time.Add(time.Hour) },
			2,
			[]string{"source.time"},
		},
		"a package with another hash": {
			func(_ *images.Lock, p *images.LockPlatform) {
				p.Packages.Runtime[libc].SHA256 = strings.Repeat("3", 64)
			},
			4,
			[]string{"libc6_", strings.Repeat("3", 64), "cannot be had"},
		},
		"a package that no archive has": {
			func(_ *images.Lock, p *images.LockPlatform) {
				p.Packages.Runtime[libc].Path = "pool/main/g/glibc/libc6_0.0-1_amd64.deb"
				p.Packages.Runtime[libc].SHA256 = strings.Repeat("4", 64)
			},
			4,
			[]string{"libc6_0.0-1_amd64.deb", "cannot be had"},
		},
		"scripts of another program": {
			func(l *images.Lock, _ *images.LockPlatform) { l.Recipe.Scripts = "sha256:" + strings.Repeat("5", 64) },
			2,
			[]string{"recipe.scripts"},
		},
		// A mirror that has it and does not give it, and one that gives something else.
		"a mirror that wants a password":     mirrored(answers(http.StatusUnauthorized)),
		"a mirror that is asked too often":   mirrored(answers(http.StatusTooManyRequests)),
		"a mirror that lost it":              mirrored(answers(http.StatusNotFound)),
		"a mirror that is broken":            mirrored(answers(http.StatusInternalServerError)),
		"a mirror that forbids it":           mirrored(answers(http.StatusForbidden)),
		"a mirror that gives something else": mirrored(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no package") }),
		"a mirror that gives a page to log in on": mirrored(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>log in</html>")
		}),
		"a mirror that hangs up":     mirrored(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"a mirror that is not there": mirrored(nil),
	} {
		t.Run(name, func(t *testing.T) {
			changed, err := images.DecodeLock(data)
			if err != nil {
				t.Fatal(err)
			}
			on := changed.Platforms[platform]
			// Nothing waits for services that keep old packages and cannot be reached here.
			on.Snapshots = nil
			c.change(&changed, &on)
			changed.Platforms[platform] = on
			text, err := changed.Encode()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "changed.lock")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "image.tar")
			p.run("build", "--builder", builder, "--locked="+file, "--output", out).wants(t, c.code, c.says...)
			if _, err := os.Stat(out); err == nil {
				t.Error("an image was written")
			}
		})
	}
}

// lockedModel checks that a lock's model is served although its branch has moved, that the
// move is reported and can be locked, and that another file is refused.
func lockedModel(t *testing.T, p *project, builder string) {
	t.Helper()
	small, err := os.ReadFile(p.model())
	if err != nil {
		t.Fatal(err)
	}
	var other bytes.Buffer
	if err := gguf.WriteTinyLlama(&other); err != nil {
		t.Fatal(err)
	}
	h := hub.New(t)
	h.Add("org/tiny", "tiny-Q8_0.gguf", small)
	p.setenv("HF_ENDPOINT", h.Endpoint())
	p.setenv("HF_HUB_CACHE", t.TempDir())
	p.must("lock", "--update", "model", "--model", "hf:org/tiny:Q8_0")
	first := h.Commit("org/tiny")
	h.Add("org/tiny", "tiny-Q8_0.gguf", append(other.Bytes(), make([]byte, 64)...))
	p.must("up", "--builder", builder, "--locked")
	served, ok := p.handoff("default")
	if got, err := os.ReadFile(served.Model.Path); !ok || err != nil || !bytes.Equal(got, small) {
		t.Errorf("it serves %+v: %v", served.Model, err)
	}
	p.must("stop")

	p.run("lock", "--check", "--builder", builder).wants(t, 2, "model.commit: "+first)
	data, err := os.ReadFile(filepath.Join(p.dir, images.LockFile))
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.ReplaceAll(string(data), fmt.Sprintf("%x", sha256.Sum256(small)), strings.Repeat("6", 64))
	if err := os.WriteFile(filepath.Join(p.dir, "edited.lock"), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run("up", "--builder", builder, "--locked=edited.lock").wants(t, 5, strings.Repeat("6", 64))
	p.leftNothing()
}
