package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/spf13/cobra"
)

// inProcess runs the command line with an empty environment and gives what it
// printed as a result.
func inProcess(t *testing.T, words ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := rootCommand(&app.App{Out: &out, Err: t.Output(), Getenv: func(string) string { return "" }})
	cmd.SetOut(&out)
	cmd.SetErr(t.Output())
	cmd.SetArgs(words)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// The exit codes are a contract: this is the table of the documentation.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	for class, want := range map[fault.Class]int{
		fault.Unexpected:  1,
		fault.Usage:       2,
		fault.Machine:     3,
		fault.Build:       4,
		fault.Model:       5,
		fault.Engine:      6,
		fault.NotReady:    7,
		fault.Interrupted: 130,
	} {
		err := fmt.Errorf("on the way up: %w", fault.New(class, "what", errors.New("why"), "do"))
		if got := int(fault.ClassOf(err)); got != want {
			t.Errorf("class %d ends with %d, want %d", class, got, want)
		}
	}
	if got := int(fault.ClassOf(errors.New("odd"))); got != 1 {
		t.Errorf("an error that nobody foresaw ends with %d, want 1", got)
	}
}

// Every command that there is, and every one to come, says what it does and how
// it is used.
func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	var names []string
	for _, c := range rootCommand(app.New()).Commands() {
		if c.Name() != "completion" { // cobra's own
			names = append(names, c.Name())
		}
	}
	want := []string{"build", "bundle", "doctor", "lock", "logs", "model", "plan", "prune", "ps", "run", "setup", "stop", "up", "verify", "version"}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("commands (-want +got):\n%s", d)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := inProcess(t, name, "--help")
			if err != nil {
				t.Fatal(err)
			}
			_, after, ok := strings.Cut(out, "\nExamples:\n")
			example, _, _ := strings.Cut(after, "\n")
			if !ok || !strings.HasPrefix(example, "  llorch-bk "+name) {
				t.Errorf("the first example is %q, want one of %s", example, name)
			}
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "  ") && strings.Contains(line, "--") && strings.HasSuffix(strings.TrimRight(line, "\n"), " ") {
					t.Errorf("a flag without a description: %q", line)
				}
			}
		})
	}
}

// A flag that several commands have means the same to all of them, since one
// environment and one file serve them all.
func TestSharedFlagsAgree(t *testing.T) {
	t.Parallel()
	type meaning struct{ Type, Usage string }
	seen := map[string]meaning{}
	root := rootCommand(app.New())
	each := func(c *cobra.Command, name string) {
		f := c.Flags().Lookup(name)
		if f == nil {
			return
		}
		m := meaning{f.Value.Type(), f.Usage}
		if before, ok := seen[name]; ok && before.Type != m.Type {
			t.Errorf("--%s is %s for %s, and %s elsewhere", name, m.Type, c.Name(), before.Type)
		}
		seen[name] = m
	}
	for _, c := range root.Commands() {
		for _, name := range []string{"source", "variant", "cpu", "model", "pool", "replica", "port", "handoff-dir", "builder", "json"} {
			each(c, name)
		}
	}
	if len(seen) != 10 {
		t.Errorf("flags = %v", slices.Sorted(maps.Keys(seen)))
	}
}

// BuildKit's own variable names the builder, where ours does not.
func TestBuilderFromEnvironment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"none":   {nil, "auto"},
		"its":    {map[string]string{"BUILDKIT_HOST": "tcp://its:1"}, "tcp://its:1"},
		"ours":   {map[string]string{"BUILDKIT_HOST": "tcp://its:1", "LLORCH_BUILDER": "tcp://ours:1"}, "tcp://ours:1"},
		"a flag": {map[string]string{"LLORCH_BUILDER": "tcp://ours:1", "FLAG": "tcp://typed:1"}, "tcp://typed:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := rootCommand(&app.App{Out: t.Output(), Err: t.Output(), Getenv: func(name string) string {
				if name == "DOCKER_HOST" {
					return "unix:///no/such/docker.sock"
				}
				return c.env[name]
			}})
			words := []string{"build"}
			if v := c.env["FLAG"]; v != "" {
				words = append(words, "--builder", v)
			}
			root.SetArgs(words)
			if err := root.ExecuteContext(t.Context()); fault.ClassOf(err) != fault.Machine {
				t.Fatalf("error = %v, want that there is no engine", err)
			}
			build, _, err := root.Find(words[:1])
			if err != nil {
				t.Fatal(err)
			}
			if got := build.Flag("builder").Value.String(); got != c.want {
				t.Errorf("builder = %q, want %q", got, c.want)
			}
		})
	}
}

func TestVersionKeys(t *testing.T) {
	t.Parallel()
	out, err := inProcess(t, "version", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	// Only a build in a checkout knows these.
	delete(got, "commit")
	delete(got, "modified")
	want := []string{"buildkit_client", "default_ref", "go", "plan_schema", "platform", "version"}
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(got))); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
	for key, v := range got {
		if v == "" {
			t.Errorf("%s is empty", key)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	broken := fault.New(fault.Engine, "the server died", errors.New("exit code 1"), "look at its flags").WithLines([]string{"last line"})
	for name, c := range map[string]struct {
		err    error
		colour bool
		want   string
	}{
		"plain":          {broken, false, "error: the server died: exit code 1\n  | last line\nwhat to do: look at its flags\n"},
		"on a terminal":  {broken, true, "\x1b[1;31merror:\x1b[0m the server died: exit code 1\n  | last line\nwhat to do: look at its flags\n"},
		"no fault":       {errors.New("odd"), false, "error: odd\n"},
		"Ctrl-C is none": {fault.New(fault.Interrupted, "interrupted", nil, ""), true, "interrupted\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			report(&b, c.err, settings.Names(rootCommand(app.New())), c.colour)
			if b.String() != c.want {
				t.Errorf("got:\n%q\nwant:\n%q", b.String(), c.want)
			}
		})
	}
}

func TestNoColours(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if colours(f) {
		t.Error("colours in a file")
	}
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal can be had here: %v", err)
	}
	defer tty.Close()
	if !colours(tty) {
		t.Error("no colours on a terminal")
	}
	t.Setenv("TERM", "dumb")
	if colours(tty) {
		t.Error("colours on a dumb terminal")
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	if colours(tty) {
		t.Error("colours though NO_COLOR is set")
	}
}

func TestPrintRunning(t *testing.T) {
	t.Parallel()
	running := app.Running{
		Handoff: handoff.Handoff{
			Engine: handoff.EngineLlamaCPP, EngineVersion: "b4242-abc", URL: "http://127.0.0.1:4711", PoolID: "chat", ReplicaID: "r0",
			Model: handoff.Model{ID: "file:a&b.gguf", Path: "/m/a&b.gguf"},
		},
		HandoffPath: "/p/llamacpp-chat-r0.json",
	}
	opt := app.RunOptions{Pool: "chat", Replica: "r0", HandoffDir: app.DefaultHandoffDir}
	text := func(r app.Running, asJSON bool) string {
		var b bytes.Buffer
		if err := printRunning(&app.App{Out: &b}, r, opt, asJSON); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	fresh := text(running, false)
	for _, want := range []string{
		"b4242-abc is ready at http://127.0.0.1:4711\n", "/p/llamacpp-chat-r0.json\n", "curl http://127.0.0.1:4711/completion ",
		"llorch-bk logs chat --follow\n", "llorch-bk stop chat\n",
	} {
		if !strings.Contains(fresh, want) {
			t.Errorf("no %q in:\n%s", want, fresh)
		}
	}
	running.Already = true
	opt.Pool = "default"
	again := text(running, false)
	for _, want := range []string{"was running already and is ready", "llorch-bk stop\n", "llorch-bk logs --follow\n"} {
		if !strings.Contains(again, want) {
			t.Errorf("no %q in:\n%s", want, again)
		}
	}
	opt.Replica, opt.HandoffDir = "r1", "/p"
	for _, want := range []string{"llorch-bk logs --replica r1 --handoff-dir /p --follow\n", "llorch-bk stop --handoff-dir /p\n"} {
		if got := text(running, false); !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	var back handoff.Handoff
	out := text(running, true)
	if err := json.Unmarshal([]byte(out), &back); err != nil {
		t.Fatal(err)
	}
	if back.Model.Path != "/m/a&b.gguf" || !strings.Contains(out, "/m/a&b.gguf") {
		t.Errorf("as JSON:\n%s", out)
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	if got := since(time.Time{}); got != "-" {
		t.Errorf("never = %q", got)
	}
	if got := since(time.Now().Add(-2*time.Hour - time.Minute)); got != "2 hours ago" {
		t.Errorf("two hours ago = %q", got)
	}
}

func TestCUDAFlags(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		words   []string
		variant string
		archs   []string
		chosen  bool
	}{
		"none":        {nil, "cpu", nil, false},
		"short":       {[]string{"--cuda"}, "cuda", nil, false},
		"long":        {[]string{"--variant", "cuda"}, "cuda", nil, false},
		"a list":      {[]string{"--cuda", "--cuda-arch", "8.6, 89,"}, "cuda", []string{"8.6", "89"}, false},
		"cpu, chosen": {[]string{"--cpu", "portable"}, "cpu", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var flags buildFlags
			cmd := &cobra.Command{}
			flags.add(cmd, "portable", "all")
			if err := cmd.ParseFlags(c.words); err != nil {
				t.Fatal(err)
			}
			opt := flags.options(cmd)
			if opt.Request.Variant != c.variant || opt.CPUChosen != c.chosen {
				t.Errorf("variant %q, CPU chosen %v; want %q, %v", opt.Request.Variant, opt.CPUChosen, c.variant, c.chosen)
			}
			if d := cmp.Diff(c.archs, opt.Request.CUDAArch); d != "" {
				t.Errorf("architectures (-want +got):\n%s", d)
			}
		})
	}
}
