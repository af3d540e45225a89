package source_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/source"
)

func TestCancelled(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	cause := fault.New(fault.Interrupted, "interrupted", nil, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for name, c := range map[string]struct{ location, ref string }{
		"working tree": {r.dir, ""},
		"commit":       {r.dir, "HEAD"},
		"bundle":       {r.bundle("HEAD"), ""},
		"remote":       {r.serve(), "main"},
	} {
		if _, err := r.resolver().Resolve(ctx, c.location, c.ref); fault.ClassOf(err) != fault.Interrupted {
			t.Errorf("%s: class %d: %v", name, fault.ClassOf(err), err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	url := r.serve()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("# v2 git bundl"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken.bundle")
	whole, err := os.ReadFile(r.bundle("HEAD"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	other := newRepo(t)
	other.write("CMakeLists.txt", "project(whisper.cpp)\n")
	other.commit("another project")
	bare := t.TempDir()
	r.git("init", "-q", bare)
	forbidden := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(forbidden.Close)

	for name, c := range map[string]struct {
		location, ref string
		class         fault.Class
		says, do      string
	}{
		"a ref that is an option":       {url, "--upload-pack=touch x", fault.Usage, "is not a ref", "--ref"},
		"a local ref that is an option": {r.dir, "-x", fault.Usage, "is not a ref", "--ref"},
		"no such file":                  {filepath.Join(dir, "nope"), "", fault.Usage, "does not exist", "--source takes"},
		"a file that is no bundle":      {text, "", fault.Usage, "is a file, but not a git bundle", "git bundle create"},
		"half a bundle":                 {broken, "", fault.Usage, "cannot unpack", "git bundle verify"},
		"a folder without git":          {dir, "", fault.Usage, "is not a readable git repository", "git init"},
		"a folder without git, ref":     {dir, "main", fault.Usage, "is not a readable git repository", "git init"},
		"a repository without commits":  {bare, "", fault.Usage, `no ref "HEAD"`, ""},
		"another project":               {other.dir, "", fault.Usage, "not a llama.cpp tree", "`source`"},
		"another project's commit":      {other.dir, "main", fault.Usage, "not a llama.cpp tree", "`source`"},
		"unknown local ref":             {r.dir, "nope", fault.Usage, `no ref "nope"`, "git tag"},
		"unknown ref in a bundle":       {r.bundle("HEAD"), "nope", fault.Usage, `no ref "nope"`, "git tag"},
		"unknown remote ref":            {url, "nope", fault.Usage, `no ref "nope"`, "git ls-remote"},
		"a pattern is no ref":           {url, "*", fault.Usage, `no ref "*"`, ""},
		"a short remote commit":         {url, r.main[:8], fault.Usage, "no ref", "all 40 digits"},
		"a tag and a branch":            {url, "both", fault.Usage, "both a tag and a branch", "--ref refs/tags/both or --ref refs/heads/both"},
		"unknown repository":            {url + "/nope", "main", fault.Usage, "no readable repository", "credentials"},
		"a private repository":          {forbidden.URL, "main", fault.Usage, "no readable repository", "credentials"},
		"a server that is not there":    {closedServer(t), "main", fault.Machine, "cannot reach the repository", "--source DIR"},
		"a host that is not there":      {"https://no-such-host.invalid/x", "main", fault.Machine, "cannot reach the repository", "network"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := r.resolver().Resolve(t.Context(), c.location, c.ref)
			if err == nil || fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("class %d: %v\nwant class %d with %q", fault.ClassOf(err), err, c.class, c.says)
			}
			if report := fault.Report(err); !strings.Contains(report, c.do) {
				t.Errorf("no advice with %q in:\n%s", c.do, report)
			}
		})
	}
}

// closedServer is an address that refuses connections.
func closedServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String() + "/x"
}

func TestGitIsMissing(t *testing.T) {
	// exec.LookPath reads this process' PATH, not the one that git is given.
	t.Setenv("PATH", t.TempDir())
	_, err := source.Resolver{Dir: t.TempDir()}.Resolve(t.Context(), t.TempDir(), "")
	if fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "git is not installed") {
		t.Errorf("class %d: %v", fault.ClassOf(err), err)
	}
}
