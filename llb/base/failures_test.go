package base

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestBootstrapFailures(t *testing.T) {
	t.Parallel()
	whole := system(t, time.Now())
	for _, tc := range []struct{ name, body, says, do string }{
		{"not installed", "", "mmdebstrap is not installed", "apt-get install mmdebstrap"},
		{"no mirror", `echo "E: Failed to fetch http://m.test/x  Temporary failure resolving 'm.test'" >&2; exit 1`, "mirror is unreachable", "proxy"},
		{"disk full", `echo "tar: x: Cannot write: No space left on device" >&2; exit 2`, "disk is full", "free"},
		{"no keys", `echo "W: GPG error: NO_PUBKEY 123" >&2; exit 25`, "signing keys", "debian-archive-keyring"},
		{"fails after the whole tarball", "cat " + whole + "; echo 'E: late' >&2; exit 3", "mmdebstrap failed", "repeat the command"},
		{"dies in the middle", "head -c 2000 " + whole + "; kill -9 $$", "mmdebstrap failed", "repeat the command"},
		{"gives nothing", "exit 0", "no installed system", "repeat the command"},
		{"gives no tarball", "yes | head -c 4000", "invalid tar header", "repeat the command"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			program := "llorch-test-no-such-program"
			if tc.body != "" {
				program = script(t, tc.body)
			}
			o := options(t, program)
			_, err := Bootstrap(t.Context(), o)
			var f *fault.Fault
			if !errors.As(err, &f) || f.Class != fault.Machine {
				t.Fatalf("got %v, want a fault of the machine", err)
			}
			if !strings.Contains(f.Error(), tc.says) || !strings.Contains(f.Do, tc.do) {
				t.Errorf("report:\n%s", fault.Report(err))
			}
			if strings.Contains(tc.body, "E: late") && !slices.Contains(f.Lines, "E: late") {
				t.Errorf("its last lines are %q", f.Lines)
			}
			if left := leftovers(t, o.Dir); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestBootstrapWithoutUnreachableSecurity(t *testing.T) {
	t.Parallel()
	o := options(t, script(t, `case "$*" in *debian-security*) echo "E: Failed to fetch http://m.test/debian-security/dists  404" >&2; exit 1;; esac
cat `+system(t, time.Now())))
	o.Host = hostFS(map[string]string{
		"etc/os-release":       bookworm,
		"etc/apt/sources.list": "deb http://m.test/debian bookworm main\ndeb http://m.test/debian-security bookworm-security main\n",
	})
	var log []string
	o.Log = func(l string) { log = append(log, l) }
	if _, err := Bootstrap(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(log, func(l string) bool { return strings.Contains(l, "without its updates") }) {
		t.Errorf("nothing says that security updates are missing: %q", log)
	}
	if diff := cmp.Diff([]string{"trixie-arm64"}, leftovers(t, o.Dir)); diff != "" {
		t.Error(diff)
	}
}

func TestInterruptedBootstrapLeavesNothing(t *testing.T) {
	t.Parallel()
	cleaned := filepath.Join(t.TempDir(), "cleaned")
	o := options(t, script(t, "trap 'touch "+cleaned+"; exit 1' TERM\nhead -c 2000 "+system(t, time.Now())+"\necho started >&2\nsleep 600 & wait"))
	ctx, interrupt := context.WithCancel(t.Context())
	o.Log = func(l string) {
		if l == "started" {
			interrupt()
		}
	}
	_, err := Bootstrap(ctx, o)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the interruption", err)
	}
	if _, err := os.Stat(cleaned); err != nil {
		t.Error("mmdebstrap was not given the chance to clean up")
	}
	if left := leftovers(t, o.Dir); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestTwoAtOnceBootstrapOnce(t *testing.T) {
	t.Parallel()
	record := filepath.Join(t.TempDir(), "record")
	o := options(t, script(t, "echo run >>"+record+"; cat "+system(t, time.Now())))
	o.Log = nil
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := Bootstrap(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if said, _ := os.ReadFile(record); string(said) != "run\n" {
		t.Errorf("mmdebstrap ran %d times", strings.Count(string(said), "\n"))
	}
}

func TestDamagedLayoutIsMadeAnew(t *testing.T) {
	t.Parallel()
	o := options(t, script(t, "cat "+system(t, time.Now())))
	if _, found, err := Find(o.Dir, o.Suite, o.Arch); found || err != nil {
		t.Fatalf("an empty folder gives %v, %v", found, err)
	}
	b, err := Bootstrap(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(b.Layout, blobPath(b.Layers[0].Digest))
	if err := os.Remove(layer); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Find(o.Dir, o.Suite, o.Arch); !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v, want ErrDamaged", err)
	}
	// A folder that a killed process left is swept up on the way.
	if err := os.MkdirAll(filepath.Join(o.Dir, o.scratchPrefix()+"1", "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Bootstrap(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(layer); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"trixie-arm64"}, leftovers(t, o.Dir)); diff != "" {
		t.Error(diff)
	}
}
