package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/gitrepo"
	"github.com/llorch/llorch-bk/llb"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"llorch-bk": func() { os.Exit(run(os.Args[1:])) },
	})
}

// llamaTree is the least that is taken for llama.cpp.
var llamaTree = fstest.MapFS{
	"CMakeLists.txt": {Data: []byte("project(\"llama.cpp\" C CXX)\n" +
		"set(LLAMA_VERSION_MAJOR 0)\nset(LLAMA_VERSION_MINOR 5)\nset(LLAMA_VERSION_PATCH 1)\n")},
	"ggml/CMakeLists.txt":         {Data: []byte("project(\"ggml\" C CXX)\n")},
	"tools/server/CMakeLists.txt": {Data: []byte("add_executable(llama-server server.cpp)\n")},
	"LICENSE":                     {Data: []byte("MIT\n")},
}

// TestScripts runs the program as a shell would. No script has an engine, and
// each has a home, a cache and a llama.cpp tree of its own:
//
//	$HOME, $XDG_CACHE_HOME  empty folders
//	$TREE                   a git repository that looks like llama.cpp
//	$COMMIT                 its only commit, tagged b4242
//	tiny.gguf, cut.gguf     a model, and one that ends in its header
//	$SCRIPTS                the digest of this program's scripts, as locks have it
//
// Beside testscript's commands there are
//
//	exits CODE cmd…      run cmd, which must end with CODE and print no escape code
//	refuses CODE cmd…    exits, with nothing on stdout, and on stderr one line
//	                     that begins with "error: " and one with "what to do: "
func TestScripts(t *testing.T) {
	t.Parallel()
	repo := gitrepo.New(t, llamaTree)
	repo.Tag("b4242")
	commit := repo.Head()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			tree := filepath.Join(env.WorkDir, "llama")
			for name, value := range map[string]string{
				"HOME":                filepath.Join(env.WorkDir, "home"),
				"XDG_CACHE_HOME":      filepath.Join(env.WorkDir, "cache"),
				"XDG_CONFIG_HOME":     filepath.Join(env.WorkDir, "config"),
				"XDG_RUNTIME_DIR":     filepath.Join(env.WorkDir, "run"),
				"DOCKER_HOST":         "unix:///no/such/docker.sock",
				"GORACE":              "atexit_sleep_ms=0", // else each success takes a second
				"GIT_CONFIG_GLOBAL":   os.DevNull,
				"GIT_CONFIG_NOSYSTEM": "1",
				"OTHER":               map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH],
				"GOARCH":              runtime.GOARCH,
				"TREE":                tree,
				"COMMIT":              commit,
				"SCRIPTS":             llb.ScriptsDigest(),
			} {
				env.Setenv(name, value)
			}
			var tiny bytes.Buffer
			if err := gguf.WriteTinyLlama(&tiny); err != nil {
				return err
			}
			env.Setenv("SHA256", fmt.Sprintf("%x", sha256.Sum256(tiny.Bytes())))
			return errors.Join(os.WriteFile(filepath.Join(env.WorkDir, "tiny.gguf"), tiny.Bytes(), 0o600), os.WriteFile(filepath.Join(env.WorkDir, "cut.gguf"), tiny.Bytes()[:300], 0o600), os.Mkdir(filepath.Join(env.WorkDir, "home"), 0o755), os.CopyFS(tree, os.DirFS(repo.Dir)))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"refuses": refuses,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE cmd...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	if strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), "\x1b") {
		ts.Fatalf("escape codes, though nobody looks at a terminal")
	}
}

func refuses(ts *testscript.TestScript, neg bool, args []string) {
	exits(ts, neg, args)
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout is for results, and has:\n%s", out)
	}
	text := ts.ReadFile("stderr")
	for _, part := range []string{"error: ", "what to do: "} {
		if n := strings.Count("\n"+text, "\n"+part); n != 1 {
			ts.Fatalf("%d lines begin with %q, want one", n, part)
		}
	}
	if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") {
		ts.Fatalf("the last line does not end as a line does: %q", text)
	}
}
