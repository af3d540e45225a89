package source_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/source"
)

// TestCredentialsInURL holds that a secret in a URL is refused before it gets
// into a graph, and is not repeated by the refusal.
func TestCredentialsInURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"https://user:hunter2@example.com/llama.cpp", "https://hunter2@example.com/llama.cpp", "ssh://git:hunter2@example.com/llama.cpp"} {
		_, err := source.Resolver{Dir: t.TempDir()}.Resolve(t.Context(), url, "")
		if fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v, want a usage fault", url, err)
		}
		if strings.Contains(fault.Report(err), "hunter2") {
			t.Errorf("the refusal repeats the secret: %s", fault.Report(err))
		}
	}
}

// TestOverSSH holds that a repository behind ssh is fetched here, where the keys
// are, and sent to the builder as a tree. The ssh is a stand-in that runs the
// far side's command on this machine.
func TestOverSSH(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	ssh := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(ssh, []byte("#!/bin/sh\nfor last; do :; done\nexec sh -c \"$last\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	res := r.resolver()
	res.Env = append(res.Env, "GIT_SSH_COMMAND="+ssh, "GIT_SSH_VARIANT=simple")
	url := "git@example.com:" + r.dir
	got := resolve(t, res, url, "")
	if got.Facts.Kind != images.SourceCommit || got.Facts.Commit != r.main || got.Location != url {
		t.Errorf("got %+v, want commit %s of %s", got, r.main, url)
	}
	if _, err := os.Stat(filepath.Join(got.Dir, "CMakeLists.txt")); err != nil {
		t.Errorf("the tree was not checked out: %v", err)
	}
	_, err := res.Resolve(t.Context(), url, "no-such-branch")
	if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "no-such-branch") {
		t.Errorf("an unknown ref: %v", err)
	}
}
