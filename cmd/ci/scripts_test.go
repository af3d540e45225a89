// Package ci holds the scripts of the GitHub action, and runs them without GitHub.
package ci

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/cmd/internal/app"
)

var update = flag.Bool("update", false, "write the golden files anew")

// job is a runner's step: a folder to stand in, and programs of its own on PATH.
type job struct {
	t              *testing.T
	work, bin, tmp string
	env            []string
}

func newJob(t *testing.T, env ...string) *job {
	t.Helper()
	for _, program := range []string{"bash", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir := t.TempDir()
	j := &job{t: t, work: filepath.Join(dir, "work"), bin: filepath.Join(dir, "bin"), tmp: filepath.Join(dir, "a runner's temp")}
	for _, d := range []string{j.work, j.bin, j.tmp} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	j.env = append([]string{
		"PATH=" + j.bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "RUNNER_TEMP=" + j.tmp,
		"GITHUB_OUTPUT=" + j.path("output"), "GITHUB_STEP_SUMMARY=" + j.path("summary"), "GITHUB_PATH=" + j.path("path"),
	}, env...)
	return j
}

func (j *job) path(name string) string { return filepath.Join(j.tmp, name) }

// read is a file that the step may have written; empty where it did not.
func (j *job) read(name string) string {
	j.t.Helper()
	data, err := os.ReadFile(j.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		j.t.Fatal(err)
	}
	return string(data)
}

// program puts a bash script on PATH.
func (j *job) program(name, script string) {
	j.t.Helper()
	if err := os.WriteFile(filepath.Join(j.bin, name), []byte("#!/usr/bin/env bash\n"+script), 0o755); err != nil {
		j.t.Fatal(err)
	}
}

// run runs a script, and gives what it printed and its exit code.
func (j *job) run(script string, args ...string) (string, int) {
	j.t.Helper()
	script, err := filepath.Abs(script)
	if err != nil {
		j.t.Fatal(err)
	}
	cmd := exec.CommandContext(j.t.Context(), "bash", append([]string{script}, args...)...)
	cmd.Dir, cmd.Env = j.work, j.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		j.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// build runs run.sh with a program that keeps its arguments, and gives those.
func (j *job) build() (args []string, out string, code int) {
	j.t.Helper()
	metadata, err := filepath.Abs("testdata/gpu.json")
	if err != nil {
		j.t.Fatal(err)
	}
	j.program("llorch-bk", fmt.Sprintf(`printf '%%s\0' "$@" >%q
env >%q
[[ -z ${FAILS:-} ]] || exit "$FAILS"
for a in "$@"; do [[ $a != --metadata-file=* ]] || cp %q "${a#--metadata-file=}"; done
`, j.path("args"), j.path("env"), metadata))
	out, code = j.run("run.sh")
	for a := range strings.SplitSeq(strings.TrimSuffix(j.read("args"), "\x00"), "\x00") {
		if file, ok := strings.CutPrefix(a, "--metadata-file="); ok {
			a = "--metadata-file=…"
			if !strings.HasPrefix(file, j.tmp) {
				j.t.Errorf("the metadata are in %s, not in the runner's folder", file)
			}
		} else if file, ok := strings.CutPrefix(a, "--output="); ok {
			a = "--output=…"
			if !strings.HasPrefix(file, j.tmp) {
				j.t.Errorf("the image is in %s, not in the runner's folder", file)
			}
		}
		args = append(args, a)
	}
	return args, out, code
}

func TestRun(t *testing.T) {
	t.Parallel()
	const (
		fork   = `{"repository":{"full_name":"me/llama"},"pull_request":{"head":{"repo":{"full_name":"you/llama"}}}}`
		gone   = `{"repository":{"full_name":"me/llama"},"pull_request":{"head":{"repo":null}}}`
		branch = `{"repository":{"full_name":"me/llama"},"pull_request":{"head":{"repo":{"full_name":"me/llama"}}}}`
		push   = `{"repository":{"full_name":"me/llama"}}`
	)
	pushes := []string{"INPUT_PUSH=true", "INPUT_TAGS=r.io/a:1", "INPUT_CACHE=r.io/a/cache:cpu\nr.io/a/cache:all"}
	pushed := []string{"--tag=r.io/a:1", "--builder=managed", "--cache-from=r.io/a/cache:cpu", "--cache-from=r.io/a/cache:all", "--cache-to=r.io/a/cache:cpu", "--push"}
	kept := pushed[:4]
	for name, c := range map[string]struct {
		env   []string
		event string
		lock  bool
		want  []string
	}{
		"nothing asked":       {want: []string{"--builder=managed"}},
		"push and cache":      {env: pushes, event: push, want: pushed},
		"a branch's request":  {env: pushes, event: branch, want: pushed},
		"a fork's request":    {env: pushes, event: fork, want: kept},
		"a fork that is gone": {env: pushes, event: gone, want: kept},
		"a fork where the token may write": {
			env: append([]string{"GITHUB_EVENT_NAME=pull_request_target", "LLORCH_PUSH=true", "LLORCH_CACHE_TO=r.io/b", "LLORCH_SIGN=keyless", "INPUT_SIGN=keyless"}, pushes...), event: fork,
			want: append([]string{"--file=/dev/null"}, kept...),
		},
		"no push":            {env: append(pushes[1:], "INPUT_PUSH=false"), event: push, want: kept},
		"no push, no key":    {env: append(pushes[1:], "INPUT_SIGN=cosign.key", "LLORCH_SIGN=keyless"), event: push, want: kept},
		"signed":             {env: append([]string{"INPUT_SIGN=keyless"}, pushes...), event: push, want: append(slices.Clone(pushed), "--sign=keyless")},
		"outside GitHub":     {env: pushes, want: pushed},
		"push without cache": {env: []string{"INPUT_PUSH=true", "INPUT_TAGS=r.io/a:1"}, event: push, want: []string{"--tag=r.io/a:1", "--builder=managed", "--push"}},
		"a lock is there":    {lock: true, want: []string{"--locked=llorch.lock", "--builder=managed"}},
		"no lock is wanted":  {lock: true, env: []string{"INPUT_LOCKED=none"}, want: []string{"--builder=managed"}},
		"a named lock":       {lock: true, env: []string{"INPUT_LOCKED=locks/my gpu.lock"}, want: []string{"--locked=locks/my gpu.lock", "--builder=managed"}},
		"everything": {
			env: []string{
				"INPUT_SOURCE=.", "INPUT_REF=refs/pull/1/merge", "INPUT_VARIANT=cuda12", "INPUT_CPU=x86-64-v3", "INPUT_CUDA_ARCH=86,89",
				"INPUT_BUILDER=unix:///run/b.sock", "INPUT_EXTRA_FLAGS=\n--programs=llama-cli\n--cmake-flag\n-DX=a b\r\n",
			},
			want: []string{
				"--source=.", "--ref=refs/pull/1/merge", "--variant=cuda12", "--cpu=x86-64-v3", "--cuda-arch=86,89",
				"--builder=unix:///run/b.sock", "--programs=llama-cli", "--cmake-flag", "-DX=a b",
			},
		},
		"one platform": {env: []string{"INPUT_PLATFORMS=linux/arm64\n"}, want: []string{"--platform=linux/arm64", "--builder=managed"}},
		"an index": {
			env:  []string{"INPUT_PLATFORMS=linux/amd64\nlinux/arm64", "INPUT_PUSH=true", "INPUT_TAGS=r.io/a:1"},
			want: []string{"--platform=linux/amd64", "--platform=linux/arm64", "--tag=r.io/a:1", "--builder=managed", "--push"},
		},
		"an index that is not pushed": {
			env:  []string{"INPUT_PLATFORMS=linux/amd64\nlinux/arm64"},
			want: []string{"--platform=linux/amd64", "--platform=linux/arm64", "--builder=managed", "--output=…"},
		},
		"the job's builder": {env: []string{"BUILDKIT_HOST=tcp://b:1"}, want: []string{"--builder=tcp://b:1"}},
		"nothing is expanded": {
			env: []string{"INPUT_TAGS=  a b \n\n$(touch made)\n`touch made`\n; touch made #\n*\n\"'\\", "INPUT_REF=-x;$HOME"},
			want: []string{
				"--ref=-x;$HOME", "--tag=a b", "--tag=$(touch made)", "--tag=`touch made`", "--tag=; touch made #", "--tag=*", "--tag=\"'\\", "--builder=managed",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, c.env...)
			if c.event != "" {
				j.env = append(j.env, "GITHUB_EVENT_PATH="+j.path("event"))
				if err := os.WriteFile(j.path("event"), []byte(c.event), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.lock {
				if err := os.WriteFile(filepath.Join(j.work, "llorch.lock"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			args, out, code := j.build()
			if code != 0 {
				t.Fatalf("exit code %d:\n%s", code, out)
			}
			if d := cmp.Diff(append([]string{"build", "--metadata-file=…"}, c.want...), args); d != "" {
				t.Errorf("arguments (-want +got):\n%s", d)
			}
			if env := j.read("env"); strings.Contains(env, "LLORCH_PUSH") || strings.Contains(env, "LLORCH_CACHE_TO") || strings.Contains(env, "LLORCH_SIGN") {
				t.Errorf("the environment says what the job may not:\n%s", env)
			}
			if said := strings.Contains(out, "::notice"); said != (c.event == fork || c.event == gone) {
				t.Errorf("a notice %v, in:\n%s", said, out)
			}
			if _, err := os.Stat(filepath.Join(j.work, "made")); err == nil {
				t.Error("a tag was run as a command")
			}
			before, after, ok := strings.Cut(j.read("output"), "tags<<")
			end, rest, _ := strings.Cut(after, "\n")
			tags, metadata, _ := strings.Cut(rest, "\n"+end+"\n")
			if !ok || before != "digest=sha256:"+strings.Repeat("d", 64)+"\n" || tags != "ghcr.io/me/llama:cuda12\nghcr.io/me/llama:cuda12-abc" {
				t.Errorf("outputs:\n%s", j.read("output"))
			}
			file, ok := strings.CutPrefix(strings.TrimSuffix(metadata, "\n"), "metadata=")
			if _, err := os.Stat(file); !ok || err != nil {
				t.Errorf("metadata %q: %v", metadata, err)
			}
			if got := j.read("summary"); !strings.HasPrefix(got, "### llorch-bk\n") {
				t.Errorf("summary:\n%s", got)
			}
		})
	}
}

// What fails leaves its exit code and nothing that a later step could take for a result.
func TestRunFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  []string
		code int
	}{
		"the build":                    {[]string{"FAILS=4"}, 4},
		"a usage fault":                {[]string{"FAILS=2", "INPUT_PUSH=true"}, 2},
		"push is neither":              {[]string{"INPUT_PUSH=yes"}, 2},
		"an event that cannot be read": {[]string{"INPUT_PUSH=true", "GITHUB_EVENT_PATH=/no/such/event"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, c.env...)
			_, out, code := j.build()
			if code != c.code {
				t.Errorf("exit code %d, want %d:\n%s", code, c.code, out)
			}
			if got := j.read("output") + j.read("summary"); got != "" {
				t.Errorf("outputs and summary of a build that failed:\n%s", got)
			}
		})
	}
	j := newJob(t, "INPUT_SUMMARY=false")
	if _, out, code := j.build(); code != 0 || j.read("summary") != "" {
		t.Errorf("exit code %d, summary:\n%s\n%s", code, j.read("summary"), out)
	}
}

// The metadata are those that the program writes, and the summary is what people read.
func TestSummary(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dec := json.NewDecoder(bytes.NewReader(data))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&app.Built{}); err != nil {
				t.Fatalf("the program writes no such metadata: %v", err)
			}
			j := newJob(t)
			path, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			got, code := j.run("summary.sh", path)
			if code != 0 {
				t.Fatalf("exit code %d:\n%s", code, got)
			}
			golden := strings.TrimSuffix(file, ".json") + ".md"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("summary (-want +got):\n%s", d)
			}
		})
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the programs that the script uses are Linux's")
	}
	const program = "#!/bin/sh\necho released\n"
	file := "llorch-bk-linux-" + runtime.GOARCH
	sums := fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(program)), file)
	for name, c := range map[string]struct {
		ref, version string
		sums         string
		noGo         bool
		code         int
		says         string
	}{
		"the action's release":       {ref: "v1.2.3", sums: sums, says: "released\n"},
		"a tag without a release":    {ref: "v9.9.9", sums: sums, says: "compiled version=v9.9.9\n"},
		"a branch":                   {ref: "main", sums: sums, says: "compiled version=\n"},
		"a moving tag":               {ref: "v1", sums: sums, says: "compiled version=\n"},
		"a named release":            {ref: "main", version: "v1.2.3", sums: sums, says: "released\n"},
		"named, and not there":       {ref: "v1.2.3", version: "v9.9.9", sums: sums, code: 3, says: "cannot download llorch-bk v9.9.9"},
		"no version":                 {ref: "v1.2.3", version: "../v1", sums: sums, code: 2, says: `must be a release of llorch-bk, got "../v1"`},
		"another program":            {ref: "v1.2.3", sums: strings.Repeat("0", 64) + "  " + file + "\n", code: 3, says: "does not match its release's checksum"},
		"a program without checksum": {ref: "v1.2.3", sums: "\n", code: 3, says: "does not match its release's checksum"},
		"no release and no Go":       {ref: "main", sums: sums, noGo: true, code: 3, says: "no Go to compile it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, "INPUT_VERSION="+c.version)
			if _, err := exec.LookPath("curl"); err != nil {
				t.Skip("curl is not installed")
			}
			releases := http.NewServeMux()
			for name, text := range map[string]string{file: program, "SHA256SUMS": c.sums} {
				releases.HandleFunc("/them/llorch-bk/releases/download/v1.2.3/"+name, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
			}
			srv := httptest.NewServer(releases)
			t.Cleanup(srv.Close)
			j.env = append(j.env, "GITHUB_SERVER_URL="+srv.URL, "no_proxy=127.0.0.1")
			// As a runner unpacks an action.
			scripts := filepath.Join(j.work, "_actions/them/llorch-bk", c.ref, "cmd/ci")
			if err := os.MkdirAll(scripts, 0o755); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile("install.sh")
			if err != nil {
				t.Fatal(err)
			}
			script := filepath.Join(scripts, "install.sh")
			if err := os.WriteFile(script, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if c.noGo {
				// The rest of what the script needs, and no more.
				for _, name := range []string{"bash", "mkdir", "dirname", "uname", "tr", "curl", "jq"} {
					at, err := exec.LookPath(name)
					if err != nil {
						t.Skip(err)
					}
					if err := os.Symlink(at, filepath.Join(j.bin, name)); err != nil {
						t.Fatal(err)
					}
				}
				j.env = append(j.env, "PATH="+j.bin)
			} else {
				j.program("go", `
while [[ $1 != -o ]]; do flags=$1; shift; done
printf '#!/bin/sh\necho compiled %s\n' "${flags#-X main.}" >"$2"
chmod +x "$2"
`)
			}
			out, code := j.run(script)
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.says, out)
			}
			want := ""
			if c.code == 0 {
				want = j.path("llorch-bk/bin") + "\n"
			}
			if got := j.read("path"); got != want {
				t.Errorf("on the job's PATH: %q, want %q", got, want)
			}
		})
	}
}
