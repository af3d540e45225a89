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
		"CMakeLists.txt", "ggml/src/a.c", "ggml/src/a.h", "ggml/src/ggml-alloc.c", "ggml/src/ggml-cuda/big.cu", "ggml/include/ggml.h",
		"common/b.cpp", "common/jinja/c.h", "common/jinja/deep/page.inc", "common/jinja/deep/d.cpp", "licenses/LICENSE-x", "LICENSE", "a name.h",
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
		"--", "rest", "ggml/src", "!ggml/src/ggml-*/", "!ggml/src/a.h", "!no/such/file",
		"--", "seen", "~common", "common/b.cpp", "~common",
		"--", "seen2", "~common",
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
		"ggml/ggml/include/ggml.h", "ggml/ggml/src/a.c", "ggml/ggml/src/a.h", "ggml/ggml/src/ggml-alloc.c",
		"licenses/llama.cpp/LICENSE", "licenses/llama.cpp/LICENSE-x",
		"rest/ggml/src/a.c", "rest/ggml/src/ggml-alloc.c",
		"seen/common/jinja/c.h", "seen/common/jinja/deep/page.inc", "seen2/common/jinja/c.h", "seen2/common/jinja/deep/page.inc",
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
	places := map[string]string{"/slots": slots, "/tmp/jobs": filepath.Join(dir, "jobs")}
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

// launcher is a place to run launch.sh in: with a ccache that notes what it is to run,
// and compilers that do as a script says.
type launcher struct {
	t      *testing.T
	dir    string
	places map[string]string
	env    []string
}

func newLauncher(t *testing.T, ccache, clang string) launcher {
	t.Helper()
	onLinux(t, "flock")
	l := launcher{t: t, dir: t.TempDir()}
	for name, text := range map[string]string{
		"jobs": "1\n", "slots/0": "",
		"ccache": "#!/bin/sh\necho \"$*\" >>" + l.dir + "/log\n" + ccache,
		"clang":  "#!/bin/sh\n" + clang, "clang++": "#!/bin/sh\n" + clang,
	} {
		path := filepath.Join(l.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.places = map[string]string{"/llorch/": "", "/slots": l.dir + "/slots", "/tmp/jobs": l.dir + "/jobs", "/build/fallbacks": l.dir + "/fallbacks"}
	l.env = []string{"PATH=" + l.dir + ":" + os.Getenv("PATH"), "RULES=" + rules([]images.CompileRule{
		{Sources: "ggml/arch/*"},
		{Sources: "ggml/*", Compiler: images.Clang, Flags: "-O2"},
		{Sources: "common/*", Compiler: images.Clang, Flags: "-O1 -g0"},
		{Sources: "docs/*", Flags: "-O0"},
	})}
	return l
}

// run gives what the launcher said, what ran through ccache, and what was noted of
// compilers that were replaced.
func (l launcher) run(command string) (said, ran, noted string, err error) {
	l.t.Helper()
	said, err = shell(l.t, launchScript, l.places, l.env, strings.Fields(command)...)
	take := func(name string) string {
		data, _ := os.ReadFile(filepath.Join(l.dir, name))
		os.Remove(filepath.Join(l.dir, name))
		return string(data)
	}
	return said, take("log"), take("fallbacks"), err
}

// The plan's rules decide who compiles a source, and what another compiler finds an
// error in is left to the one that CMake named.
func TestLaunchFollowsTheRules(t *testing.T) {
	t.Parallel()
	l := newLauncher(t,
		"case $* in clang*broken*) echo clang fails >&2; exit 1 ;; *warns*) echo a warning >&2 ;; *bad*) echo bad >&2; exit 3 ;; esac\n",
		"case $* in *-o\\ /dev/null) ;; *) exit 9 ;; esac\ncase $* in *-M*) exit 9 ;; *broken* | *bad.c*) echo /src/ggml/broken.c:1:2: error: a mistake >&2; exit 1 ;; esac\n")
	for _, c := range []struct {
		name, command, want, says, notes string
		fails                            bool
	}{
		{name: "first match", command: "/usr/bin/c++ -O3 -c /src/ggml/arch/x86/a.cpp", want: "/usr/bin/c++ -O3 -c /src/ggml/arch/x86/a.cpp"},
		{name: "C", command: "/usr/bin/cc -c /src/ggml/a.c", want: "clang -c /src/ggml/a.c -O2 -fno-openmp"},
		{name: "C++", command: "x86_64-linux-gnu-g++ -c /src/common/sub/a.cpp", want: "clang++ -c /src/common/sub/a.cpp -O1 -g0 -fno-openmp"},
		{name: "generated", command: "/usr/bin/c++ -c /build/common/info.cpp", want: "clang++ -c /build/common/info.cpp -O1 -g0 -fno-openmp"},
		{name: "flags alone", command: "/usr/bin/cc -c /src/docs/a.c", want: "/usr/bin/cc -c /src/docs/a.c -O0"},
		{name: "no rule", command: "/usr/bin/cc -c /build/CMakeFiles/try.c", want: "/usr/bin/cc -c /build/CMakeFiles/try.c"},
		{name: "another compiler", command: "/usr/local/cuda/bin/nvcc -c /src/ggml/a.cu", want: "/usr/local/cuda/bin/nvcc -c /src/ggml/a.cu"},
		{
			name: "what clang cannot", command: "/usr/bin/cc -MD -MT x.o -MF x.o.d -o x.o -c /src/ggml/broken.c",
			want: "clang -MD -MT x.o -MF x.o.d -o x.o -c /src/ggml/broken.c -O2 -fno-openmp\n" +
				"/usr/bin/cc -MD -MT x.o -MF x.o.d -o x.o -c /src/ggml/broken.c -O2",
			notes: "ggml/broken.c\t/src/ggml/broken.c:1:2: error: a mistake\n",
		},
		{name: "warnings are passed on", command: "/usr/bin/cc -c /src/ggml/warns.c", want: "clang -c /src/ggml/warns.c -O2 -fno-openmp", says: "a warning\n"},
		{
			name: "what nobody can", command: "/usr/bin/cc -c /src/ggml/bad.c", fails: true, says: "bad\n",
			want:  "clang -c /src/ggml/bad.c -O2 -fno-openmp\n/usr/bin/cc -c /src/ggml/bad.c -O2",
			notes: "ggml/bad.c\t/src/ggml/broken.c:1:2: error: a mistake\n",
		},
	} {
		said, ran, noted, err := l.run(c.command)
		if diff := cmp.Diff(c.want+"\n", ran); diff != "" || said != c.says || noted != c.notes || (err != nil) != c.fails {
			t.Errorf("%s: said %q, noted %q, %v; ran (-want +got):\n%s", c.name, said, noted, err, diff)
		}
	}
}

// A compiler that was killed, that crashed, or that had no disk or memory has not found
// an error in the source: nobody else compiles it, and what happened is said by name.
func TestLaunchTakesNoTroubleForAMistake(t *testing.T) {
	t.Parallel()
	const fine, crash = "exit 0\n", "echo PLEASE submit a bug report >&2\nexit 134\n"
	for name, c := range map[string]struct{ ccache, clang, says string }{
		"killed":                  {"kill -9 $$\n", fine, "signal 9 (KILL)"},
		"killed, for a shell":     {"exit 137\n", fine, "signal 9 (KILL)"},
		"ended, nobody knows how": {"exit 255\n", fine, "exit code 255"},
		"killed again":            {"kill -9 $$\n", "kill -9 $$\n", "signal 9 (KILL)"},
		"a crash":                 {crash, crash, "signal 6 (ABRT)"},
		"a full disk":             {"echo 'fatal error: No space left on device' >&2\nexit 1\n", fine, "the disk is full"},
		"a child that was killed": {"echo 'clang: error: unable to execute command: Killed' >&2\nexit 1\n", fine, "exit code 1"},
		"no memory": {
			"echo 'LLVM ERROR: out of memory' >&2\nexit 1\n",
			"echo 'LLVM ERROR: out of memory' >&2\nexit 1\n", "no memory",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, ran, noted, err := newLauncher(t, c.ccache, c.clang).run("/usr/bin/cc -o x.o -c /src/ggml/a.c")
			if err == nil || noted != "" || ran != "clang -o x.o -c /src/ggml/a.c -O2 -fno-openmp\n" || !strings.Contains(said, "llorch-bk: clang ended while it compiled ggml/a.c: "+c.says) {
				t.Errorf("%v; noted %q; ran\n%s\nsaid\n%s", err, noted, ran, said)
			}
		})
	}
}

// A shell between ccache and clang keeps what ended it, its arguments and its result.
func TestSignalIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := filepath.Join(dir, "run", "clang")
	for path, text := range map[string]string{
		run:                         signalScript,
		filepath.Join(dir, "clang"): "#!/bin/sh\ncase $1 in dies) kill -SEGV $$ ;; fails) exit 3 ;; *) echo \"$1|$2\" ;; esac\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for arg, want := range map[string]int{"dies": 128 + 11, "fails": 3, "a b": 0} {
		cmd := exec.CommandContext(t.Context(), "sh", run, arg, "c d")
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, _ := cmd.Output()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: exit code %d, want %d", arg, got, want)
		}
		if want == 0 && string(out) != "a b|c d\n" {
			t.Errorf("said %q", out)
		}
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
	places := map[string]string{"/slots": dir + "/slots", "/tmp/jobs": dir + "/jobs", "/lent/*": dir + "/lent/*", "/build/stubs": dir + "/stubs"}
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

// Sources that have the assembler read files are compiled without the cache, which
// cannot see such files; those that only have such words in them are not.
func TestCompileKnowsWhatEmbeds(t *testing.T) {
	t.Parallel()
	onLinux(t)
	_, rest, ok := strings.Cut(compileScript, "embeds=")
	lines, _, ok2 := strings.Cut(rest, "\nfi\n")
	if !ok || !ok2 {
		t.Fatal("compile.sh looks for nothing")
	}
	src := t.TempDir()
	for name, text := range map[string]string{
		"one.c": "__asm__(\".incbin \\\"/src/x\\\"\");\n", "two.cpp": "asm(\"\\t.include \\\"x.s\\\"\");\n", "three.h": "const char x[] = {\n#  embed \"x\"\n};\n",
		"four.S": ".include \"x.s\"\n", "five.c": "asm(\".inc\" \"bin \\\"x\\\"\");\n",
		"plain.cpp": "#include \"x.inc\"\nif (params.include_usage && o.include()) { embed(x); } // # of embeddings\n", "page.html": ".incbin",
	} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	said, err := shell(t, "embeds="+lines+"\nfi\necho disabled: $CCACHE_DISABLE\n", map[string]string{"/src": src}, nil)
	if err != nil || !strings.Contains(said, "disabled: 1") || strings.Contains(said, "plain.cpp") || strings.Contains(said, "page.html") {
		t.Errorf("%v: %s", err, said)
	}
	for _, name := range []string{"one.c", "two.cpp", "three.h", "four.S", "five.c"} {
		if !strings.Contains(said, name) {
			t.Errorf("%s is not found: %s", name, said)
		}
	}
}
