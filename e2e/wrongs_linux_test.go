package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/llamasrc"
	"golang.org/x/sys/unix"
)

// TestWrongs checks that a killed compiler, a full disk and a lack of memory end a build with
// that cause, and leave nothing that a later build would reuse: in the end the image equals,
// byte for byte, the one of an undisturbed builder. It compiles llama.cpp itself, twice.
func TestWrongs(t *testing.T) {
	gate(t, "LLORCH_E2E_WRONGS", "wrongs")
	p := newProject(t)
	source := bundled(t, llamasrc.Pinned)
	build := func(addr, tag string) []string {
		return []string{"build", "--builder", addr, "--source", source, "--cpu", "native", "--no-ui", "--tag", tag, "--progress", "plain"}
	}
	// A disk of its own, which can be filled.
	dir, err := os.MkdirTemp("", "bkd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6g,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	d := standaloneIn(t, dir)

	const disturbed, undisturbed = "llorch-e2e:wrongs", "llorch-e2e:no-wrongs"
	t.Cleanup(func() { removeImages(t, p.api, disturbed); removeImages(t, p.api, undisturbed) })
	for _, c := range []struct {
		name, compiler string
		// nth is how many of these compilers are seen before it happens to one.
		nth   int
		wrong func(ctx context.Context, pid int) error
		says  string
	}{
		{"clang crashes", "clang", 3, signal(unix.SIGSEGV), "signal 11"},
		{"clang is killed", "clang", 9, signal(unix.SIGKILL), "a compiler was killed"},
		{"gcc crashes", "cc1plus", 3, signal(unix.SIGSEGV), "Segmentation fault"},
		{"gcc is killed", "cc1plus", 9, signal(unix.SIGKILL), "a compiler was killed"},
		{"clang gets no memory", "clang", 3, noMemory, "a compiler could not allocate memory"},
		{"gcc gets no memory", "cc1plus", 3, noMemory, "a compiler could not allocate memory"},
		{"the disk is full for clang", "clang", 3, fill(dir), "the builder's disk is full"},
		{"the disk is full for gcc", "cc1plus", 3, fill(dir), "the builder's disk is full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- hunt(ctx, d.PID(), c.compiler, c.nth, c.wrong) }()
			r := p.run(build(d.Addr, disturbed)...)
			stop()
			if err := <-done; err != nil {
				t.Fatalf("it did not happen: %v\n%s", err, r)
			}
			r.wants(t, 4, c.says)
			t.Logf("%s", tail(r.stderr, 6))
		})
	}
	p.must(build(d.Addr, disturbed)...)
	d.Remove()
	p.must(build(standalone(t).Addr, undisturbed)...)
	if a, b := imageFiles(t, p, disturbed, "/app"), imageFiles(t, p, undisturbed, "/app"); sums(t, a) != sums(t, b) {
		t.Errorf("the image is another one than where nothing went wrong:\n%s\n%s", sums(t, a), sums(t, b))
	}
}

// sums are the files of an archive, each by name and hash.
func sums(t *testing.T, archive []byte) string {
	t.Helper()
	var out strings.Builder
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %o %x\n", h.Name, h.Mode, sum.Sum(nil))
	}
}

// hunt waits for the nth process with a name below another process and disturbs it, until the
// context ends.
func hunt(ctx context.Context, below int, name string, nth int, wrong func(context.Context, int) error) error {
	seen := map[int]bool{}
	for {
		procs, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		for _, e := range procs {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || seen[pid] || !compiles(pid, name) || above(pid, func(p int) bool { return p == below }) == 0 {
				continue
			}
			seen[pid] = true
			if len(seen) >= nth {
				return wrong(ctx, pid)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d processes named %s were seen", len(seen), nth, name)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// compiles says whether a process is a compiler of this name at work on a source.
func compiles(pid int, name string) bool {
	// A script of this name is called by its own name too; what runs it is not.
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if !strings.HasPrefix(filepath.Base(exe), name) {
		return false
	}
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	// Ninja's compiler calls name what they write; a preprocessor's alone is no compile.
	return bytes.Contains(line, []byte("/src/")) && !bytes.Contains(line, []byte("\x00-E\x00"))
}

// above is the nearest ancestor of a process for which wanted is true; 0 for none.
func above(pid int, wanted func(pid int) bool) int {
	for pid > 1 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		// The name, in parentheses, may contain anything.
		_, rest, ok := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
		if err != nil || !ok {
			return 0
		}
		f := strings.Fields(rest)
		if len(f) < 2 {
			return 0
		}
		if pid, err = strconv.Atoi(f[1]); err != nil {
			return 0
		}
		if wanted(pid) {
			return pid
		}
	}
	return 0
}

func signal(s unix.Signal) func(context.Context, int) error {
	return func(_ context.Context, pid int) error { return unix.Kill(pid, s) }
}

// noMemory limits the memory of compilers that Ninja starts from now on, so that each fails.
func noMemory(_ context.Context, pid int) error {
	ninja := above(pid, func(p int) bool {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p))
		return strings.TrimSpace(string(comm)) == "ninja"
	})
	if ninja == 0 {
		return fmt.Errorf("no ninja above %d", pid)
	}
	const bytes = 180 << 20
	return unix.Prlimit(ninja, unix.RLIMIT_AS, &unix.Rlimit{Cur: bytes, Max: bytes}, nil)
}

// fill keeps a disk full until the build has ended.
func fill(dir string) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		path := filepath.Join(dir, "filler")
		defer os.Remove(path)
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		block := make([]byte, 1<<20)
		for ctx.Err() == nil {
			// What the build gives up is taken as well.
			if _, err := f.Write(block); err != nil {
				block = block[:max(len(block)/2, 4096)]
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
		}
		return nil
	}
}
