package llb

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shell runs one of the scripts on this machine, with other places for the ones
// that it has inside a step.
func shell(t *testing.T, script string, places map[string]string, env []string, args ...string) (string, error) {
	t.Helper()
	for from, to := range places {
		script = strings.ReplaceAll(script, from, to)
	}
	path := filepath.Join(t.TempDir(), "script.sh")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{path}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func onLinux(t *testing.T, tools ...string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the scripts are for Linux")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this machine has no %s", tool)
		}
	}
}

func TestSelectSortsTheFiles(t *testing.T) {
	t.Parallel()
	onLinux(t)
	src, out := t.TempDir(), t.TempDir()
	for _, name := range []string{
		"CMakeLists.txt", "ggml/src/a.c", "ggml/src/a.h", "ggml/src/ggml-cuda/big.cu", "ggml/include/ggml.h",
		"common/b.cpp", "common/jinja/c.h", "licenses/LICENSE-x", "LICENSE", "a name.h",
	} {
		path := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	said, err := shell(t, selectScript, map[string]string{"/src": src, "/out": out}, nil,
		"--", "ggml", "ggml/src/*.c", "ggml/src/*.h", "ggml/include", "no/such/*.file",
		"--", "top", "CMakeLists.txt", "common/*/*.h", "*.h",
		"--", "licenses/llama.cpp", "LICENSE", "licenses/*",
	)
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	var got []string
	if err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(out, path)
		got = append(got, name)
		info, ierr := d.Info()
		if ierr != nil {
			return ierr
		}
		if info.ModTime().Unix() != 0 {
			t.Errorf("%s has a time of its own", name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ggml/ggml/include/ggml.h", "ggml/ggml/src/a.c", "ggml/ggml/src/a.h",
		"licenses/llama.cpp/LICENSE", "licenses/llama.cpp/LICENSE-x",
		"top/CMakeLists.txt", "top/a name.h", "top/common/jinja/c.h",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// However many steps run at once, no more compilers do than there is room for.
func TestLaunchTakesTurns(t *testing.T) {
	t.Parallel()
	onLinux(t, "flock")
	dir := t.TempDir()
	slots, log := filepath.Join(dir, "slots"), filepath.Join(dir, "log")
	if err := os.Mkdir(slots, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"jobs": "2\n",
		// Work takes a while, so that others would overlap with it.
		"ccache": "#!/bin/sh\necho start $1 >>" + log + "\nsleep 0.05\necho end $1 >>" + log + "\n[ $1 != 3 ]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	places := map[string]string{"/ccache/slots": slots, "/tmp/jobs": filepath.Join(dir, "jobs")}
	var all sync.WaitGroup
	failed := make([]bool, 10)
	for i := range failed {
		all.Go(func() {
			_, err := shell(t, launchScript, places, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, string(rune('0'+i)))
			failed[i] = err != nil
		})
	}
	all.Wait()
	if want := []bool{false, false, false, true, false, false, false, false, false, false}; !slices.Equal(failed, want) {
		t.Errorf("failed %v, want the compiler's own result: %v", failed, want)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	running, most := 0, 0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "start") {
			running++
		} else {
			running--
		}
		most = max(most, running)
	}
	if most != 2 || strings.Count(string(data), "start") != len(failed) {
		t.Errorf("at most %d ran at once, want 2; the log:\n%s", most, data)
	}
}
