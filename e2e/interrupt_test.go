package e2e

import (
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/fixtures/tinyengine"
	"github.com/llorch/llorch-bk/images"
)

// TestFixtureInterruptsAtRandom ends builds at random moments, with Ctrl-C and with SIGKILL,
// and kills the builder. Whatever the moment, an image is complete or absent, and the next
// build succeeds.
func TestFixtureInterruptsAtRandom(t *testing.T) {
	p := fixture(t)
	d := standalone(t)
	repo := gitrepo.New(t, tinyengine.Tree())
	const tag = "llorch-e2e:random"
	t.Cleanup(func() { removeImages(t, p.api, tag) })
	// Compiled anew each time, or there would be nothing to end.
	args := []string{"build", "--builder", d.Addr, "--source", repo.Dir, "--ref", "HEAD", "--tag", tag, "--no-cache"}
	whole := p.must(args...).took
	removeImages(t, p.api, tag)
	nameless := func() int {
		list, err := p.api.ImageList(t.Context(), image.ListOptions{Filters: filters.NewArgs(filters.Arg("dangling", "true"), filters.Arg("label", images.LabelRecipe))})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before := nameless()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 9 {
		signal, want := os.Interrupt, 130
		if i%3 == 2 {
			signal, want = syscall.SIGKILL, -1
		}
		after := time.Duration(random.Int64N(int64(whole)))
		s := p.start(args...)
		timer := time.AfterFunc(after, func() { _ = s.cmd.Process.Signal(signal) })
		r := s.wait()
		timer.Stop()
		_, err := p.api.ImageInspect(t.Context(), tag)
		switch {
		case r.code != 0 && r.code != want:
			t.Errorf("%s after %s: %s", signal, after, r)
		case r.code == 0 && err != nil:
			t.Errorf("%s after %s: a build that succeeded left no image: %v", signal, after, err)
		}
		if err == nil {
			removeImages(t, p.api, tag)
		}
	}
	if n := nameless(); n != before {
		t.Errorf("%d images without a name were left behind", n-before)
	}
	p.must(args...)
	p.must("run", tag, "--model", p.model())
	if h, _ := p.handoff("default"); h.Commit != repo.Head() {
		t.Errorf("the handoff's commit is %s, want %s", h.Commit, repo.Head())
	}
}
