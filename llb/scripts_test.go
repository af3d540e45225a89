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
	"github.com/llorch/llorch-bk/images"
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
		"--", "rest", "ggml/src", "!ggml/src/ggml-cuda", "!ggml/src/a.h", "!no/such/file",
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
		"rest/ggml/src/a.c", "top/CMakeLists.txt", "top/a name.h", "top/common/jinja/c.h",
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

// The plan's rules decide who compiles a source, and what another compiler does
// not take is left to the one that CMake named.
func TestLaunchFollowsTheRules(t *testing.T) {
	t.Parallel()
	onLinux(t, "flock")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"jobs": "1\n",
		// It notes what it is to run; clang cannot compile everything.
		"ccache": "#!/bin/sh\necho \"$*\" >>" + dir + "/log\ncase $* in clang*broken*) echo clang fails >&2; exit 1 ;; *warns*) echo a warning >&2 ;; *bad*) echo bad >&2; exit 3 ;; esac\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "slots"), 0o755); err != nil {
		t.Fatal(err)
	}
	places := map[string]string{"/ccache/slots": filepath.Join(dir, "slots"), "/tmp/jobs": dir + "/jobs", "/tmp/clang": dir + "/clang"}
	env := []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "RULES=" + rules([]images.CompileRule{
		{Sources: "ggml/arch/*"},
		{Sources: "ggml/*", Compiler: images.Clang, Flags: "-O2"},
		{Sources: "common/*", Compiler: images.Clang, Flags: "-O1 -g0"},
		{Sources: "docs/*", Flags: "-O0"},
	})}
	const ours = " -Xclang -fno-pch-timestamp -fno-openmp"
	for _, c := range []struct {
		name, command, want, says string
		fails                     bool
	}{
		{name: "first match", command: "/usr/bin/c++ -O3 -c /src/ggml/arch/x86/a.cpp", want: "/usr/bin/c++ -O3 -c /src/ggml/arch/x86/a.cpp"},
		{name: "C", command: "/usr/bin/cc -c /src/ggml/a.c", want: "clang -c /src/ggml/a.c -O2" + ours},
		{name: "C++", command: "x86_64-linux-gnu-g++ -c /src/common/sub/a.cpp", want: "clang++ -c /src/common/sub/a.cpp -O1 -g0" + ours},
		{name: "precompiled header", command: "/usr/bin/c++ -c /build/common/CMakeFiles/x.dir/cmake_pch.hxx.cxx", want: "clang++ -c /build/common/CMakeFiles/x.dir/cmake_pch.hxx.cxx -O1 -g0" + ours},
		{name: "flags alone", command: "/usr/bin/cc -c /src/docs/a.c", want: "/usr/bin/cc -c /src/docs/a.c -O0"},
		{name: "no rule", command: "/usr/bin/cc -c /build/CMakeFiles/try.c", want: "/usr/bin/cc -c /build/CMakeFiles/try.c"},
		{name: "another compiler", command: "/usr/local/cuda/bin/nvcc -c /src/ggml/a.cu", want: "/usr/local/cuda/bin/nvcc -c /src/ggml/a.cu"},
		{
			name: "what clang cannot", command: "/usr/bin/cc -c /src/ggml/broken.c",
			want: "clang -c /src/ggml/broken.c -O2" + ours + "\n/usr/bin/cc -c /src/ggml/broken.c -O2",
		},
		{name: "warnings are passed on", command: "/usr/bin/cc -c /src/ggml/warns.c", want: "clang -c /src/ggml/warns.c -O2" + ours, says: "a warning\n"},
		{
			name: "what nobody can", command: "/usr/bin/cc -c /src/ggml/bad.c", fails: true, says: "bad\n",
			want: "clang -c /src/ggml/bad.c -O2" + ours + "\n/usr/bin/cc -c /src/ggml/bad.c -O2",
		},
	} {
		said, err := shell(t, launchScript, places, env, strings.Fields(c.command)...)
		data, rerr := os.ReadFile(filepath.Join(dir, "log"))
		if rerr != nil {
			t.Fatal(rerr)
		}
		os.Remove(filepath.Join(dir, "log"))
		if diff := cmp.Diff(c.want+"\n", string(data)); diff != "" || said != c.says || (err != nil) != c.fails {
			t.Errorf("%s: said %q, %v; ran (-want +got):\n%s", c.name, said, err, diff)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "clang.*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// Sources that cannot be compiled together are compiled apart, each as its rule says,
// and their objects take the place of the one that was asked for.
func TestLaunchTakesApart(t *testing.T) {
	t.Parallel()
	onLinux(t, "flock")
	dir := t.TempDir()
	const unity = "/CMakeFiles/x.dir/Unity/unity_of_a_0_cxx.cxx"
	for name, text := range map[string]string{
		"jobs": "1\n", "slots/0": "",
		// It notes what it is to run, and writes the source's name into the object. What
		// is put together is refused where a file says so; clang cannot compile broken.cpp.
		"ccache": `#!/bin/sh
echo "$*" >>` + dir + `/log
for source; do [ "$last" = -c ] && break; [ "$last" = -o ] && object=$source; last=$source; done
case "$source $1" in
*Unity* ) [ -e ` + dir + `/refused ] && { echo twice defined >&2; exit 1; } ;;
*broken.cpp\ clang*) exit 1 ;;
*bad.cpp*) echo bad >&2; exit 3 ;;
esac
echo "${source##*/}" >"$object"
echo a warning >&2
`,
		"ld":           "#!/bin/sh\n[ \"$1 $2\" = '-r -o' ] || exit 1\nout=$3\nshift 3\ncat \"$@\" >\"$out\"\n",
		"good" + unity: "/* by CMake */\n#include \"/src/common/one.cpp\"\n\n#include \"/src/common/broken.cpp\"\n",
		"bad" + unity:  "#include \"/src/common/one.cpp\"\n#include \"/src/common/bad.cpp\"\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	places := map[string]string{"/ccache/slots": dir + "/slots", "/tmp/jobs": dir + "/jobs", "/tmp/clang": dir + "/clang", "/tmp/together": dir + "/together"}
	env := []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "RULES=" + rules([]images.CompileRule{
		{Sources: "*/Unity/unity_of_a*", Compiler: images.Clang, Flags: "-O2"}, {Sources: "common/*", Compiler: images.Clang, Flags: "-O1"},
	})}
	object := filepath.Join(dir, "x.o")
	const ours = " -Xclang -fno-pch-timestamp -fno-openmp"
	run := func(tree string) (said, log string, err error) {
		t.Helper()
		said, err = shell(t, launchScript, places, env, "/usr/bin/c++", "-o", object, "-c", dir+"/"+tree+unity)
		ran, rerr := os.ReadFile(filepath.Join(dir, "log"))
		if rerr != nil {
			t.Fatal(rerr)
		}
		os.Remove(filepath.Join(dir, "log"))
		return said, string(ran), err
	}
	together := func(tree string) string {
		return "clang++ -o " + object + " -c " + dir + "/" + tree + unity + " -O2" + ours + "\n"
	}
	if said, log, err := run("good"); err != nil || said != "a warning\n" || log != together("good") {
		t.Errorf("together: said %q, %v; ran\n%s", said, err, log)
	}
	if err := os.WriteFile(filepath.Join(dir, "refused"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := together("good") +
		"clang++ -o " + object + ".1 -c /src/common/one.cpp -O1" + ours + "\n" +
		"clang++ -o " + object + ".2 -c /src/common/broken.cpp -O1" + ours + "\n" +
		"/usr/bin/c++ -o " + object + ".2 -c /src/common/broken.cpp -O1\n"
	said, log, err := run("good")
	if diff := cmp.Diff(want, log); err != nil || said != "a warning\na warning\n" || diff != "" {
		t.Errorf("apart: said %q, %v; ran (-want +got)\n%s", said, err, diff)
	}
	if got, err := os.ReadFile(object); err != nil || string(got) != "one.cpp\nbroken.cpp\n" {
		t.Errorf("the object is %q, %v", got, err)
	}
	if said, _, err := run("bad"); err == nil || !strings.HasSuffix(said, "bad\n") {
		t.Errorf("what nobody can compile: said %q, %v", said, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.[0-9]*")); slices.ContainsFunc(left, func(f string) bool { return !strings.HasPrefix(f, object) }) {
		t.Errorf("left behind: %v", left)
	}
}

// A part that links what others compiled takes their objects, and compiles nothing
// in the place of one that nobody has.
func TestLaunchTakesObjects(t *testing.T) {
	t.Parallel()
	onLinux(t, "flock")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"jobs": "1\n", "ccache": "#!/bin/sh\necho compiled >&2\n", "stubs": "/src/a.c\n/src/b.c\n",
		"lent/ops/obj/sub/a.c.o": "the object", "slots/0": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The launcher runs in the folder of the build.
	script := "cd " + dir + "\n" + launchScript
	places := map[string]string{"/ccache/slots": dir + "/slots", "/tmp/jobs": dir + "/jobs", "/lent/*": dir + "/lent/*", "/build/stubs": dir + "/stubs"}
	for _, c := range []struct {
		name, stubs, object, source, says string
		fails                             bool
	}{
		{name: "an object that is there", stubs: "1", object: "sub/a.c.o", source: "/src/a.c"},
		{name: "one that nobody compiled", stubs: "1", object: "sub/b.c.o", source: "/src/b.c", says: "no part has compiled /src/b.c\n", fails: true},
		{name: "a source that is here", stubs: "1", object: "sub/c.c.o", source: "/src/c.c", says: "compiled\n"},
		{name: "another part", object: "sub/a.c.o", source: "/src/a.c", says: "compiled\n"},
	} {
		said, err := shell(t, script, places, []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "STUBS=" + c.stubs}, "cc", "-O2", "-o", c.object, "-c", c.source)
		if said != c.says || (err != nil) != c.fails {
			t.Errorf("%s: said %q, %v", c.name, said, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "sub", "a.c.o")); err != nil || string(got) != "the object" {
		t.Errorf("the object is %q, %v", got, err)
	}
}
