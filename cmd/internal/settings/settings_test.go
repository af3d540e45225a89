package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
)

// values are what the flags of the command under test end up with.
type values struct {
	Model   string
	Variant string
	Builder string
	Tags    []string
	Jobs    int
	CPUs    float64
	CUDA    bool
	Timeout time.Duration
	JSON    bool
}

// command is a small tree of commands, of which the returned one is run. Its
// sibling has a flag of its own, for files that serve several commands.
func command() (*cobra.Command, *values) {
	var v values
	root := &cobra.Command{Use: "root"}
	root.PersistentFlags().String("file", "", "")
	root.PersistentFlags().String("progress", "auto", "")
	cmd := &cobra.Command{Use: "build", Run: func(*cobra.Command, []string) {}}
	fs := cmd.Flags()
	fs.StringVar(&v.Model, "model", "default model", "")
	fs.StringVar(&v.Variant, "variant", "", "")
	fs.StringVar(&v.Builder, "builder", "auto", "")
	fs.StringArrayVar(&v.Tags, "tag", nil, "")
	fs.IntVar(&v.Jobs, "jobs", 0, "")
	fs.Float64Var(&v.CPUs, "cpus", 0, "")
	fs.BoolVar(&v.CUDA, "cuda", false, "")
	fs.DurationVar(&v.Timeout, "stall-timeout", 0, "")
	fs.BoolVar(&v.JSON, "json", false, "")
	sibling := &cobra.Command{Use: "run", Run: func(*cobra.Command, []string) {}}
	sibling.Flags().Int("port", 0, "")
	sibling.Flags().Bool("all", false, "")
	root.AddCommand(cmd, sibling)
	return cmd, &v
}

// apply parses words and applies an environment and a file's content to the rest.
func apply(t *testing.T, words []string, env map[string]string, yaml string) (values, *cobra.Command, error) {
	t.Helper()
	cmd, v := command()
	if err := cmd.ParseFlags(words); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	err := settings.Apply(cmd, func(name string) string { return env[name] }, file)
	return *v, cmd, err
}

func TestApply(t *testing.T) {
	t.Parallel()
	unset := values{Model: "default model", Builder: "auto"}
	with := func(change func(*values)) values {
		v := unset
		change(&v)
		return v
	}
	for name, c := range map[string]struct {
		words []string
		env   map[string]string
		yaml  string
		want  values
	}{
		"nothing":  {want: unset},
		"a file":   {yaml: "model: m", want: with(func(v *values) { v.Model = "m" })},
		"env":      {env: map[string]string{"LLORCH_MODEL": "m"}, want: with(func(v *values) { v.Model = "m" })},
		"a dash":   {env: map[string]string{"LLORCH_STALL_TIMEOUT": "3m"}, want: with(func(v *values) { v.Timeout = 3 * time.Minute })},
		"its type": {yaml: "jobs: 3\ncpus: 1.5\ncuda: true\nstall-timeout: 90s", want: with(func(v *values) { v.Jobs, v.CPUs, v.CUDA, v.Timeout = 3, 1.5, true, 90*time.Second })},

		"a flag beats env and file": {
			words: []string{"--model", "typed"}, env: map[string]string{"LLORCH_MODEL": "env"}, yaml: "model: file",
			want: with(func(v *values) { v.Model = "typed" }),
		},
		"env beats the file": {
			env: map[string]string{"LLORCH_MODEL": "env"}, yaml: "model: file",
			want: with(func(v *values) { v.Model = "env" }),
		},
		"a flag's zero value is typed too": {
			words: []string{"--jobs", "0", "--cuda=false"}, env: map[string]string{"LLORCH_JOBS": "4"}, yaml: "cuda: true",
			want: unset,
		},
		"an empty variable is none": {
			env: map[string]string{"LLORCH_MODEL": ""}, yaml: "model: file",
			want: with(func(v *values) { v.Model = "file" }),
		},
		"no value in the file is none": {yaml: "model:\ntag: []", want: unset},

		"numbers stay as written": {yaml: "model: 0012345\nbuilder: 12.0\ntag: [8.0, 1e3, yes, 'q', \"d\"]", want: with(func(v *values) {
			v.Model, v.Builder, v.Tags = "0012345", "12.0", []string{"8.0", "1e3", "yes", "q", "d"}
		})},
		"block text": {yaml: "model: |-\n  a b\n", want: with(func(v *values) { v.Model = "a b" })},

		"a flag beats its synonym in the file": {words: []string{"--variant", "cpu"}, yaml: "cuda: true", want: with(func(v *values) { v.Variant = "cpu" })},
		"a flag beats its synonym in env":      {words: []string{"--cuda"}, env: map[string]string{"LLORCH_VARIANT": "cpu"}, want: with(func(v *values) { v.CUDA = true })},
		"env beats its synonym in the file":    {env: map[string]string{"LLORCH_VARIANT": "cpu"}, yaml: "cuda: true", want: with(func(v *values) { v.Variant = "cpu" })},

		"repeatable, one in the file":  {yaml: "tag: a", want: with(func(v *values) { v.Tags = []string{"a"} })},
		"repeatable, list in the file": {yaml: "tag: [a, 'b,c']", want: with(func(v *values) { v.Tags = []string{"a", "b,c"} })},
		"repeatable, lines in env": {
			env:  map[string]string{"LLORCH_TAG": "a b\nc,d\n"},
			want: with(func(v *values) { v.Tags = []string{"a b", "c,d"} }),
		},
		"repeatable, sources do not add up": {
			words: []string{"--tag", "x"}, env: map[string]string{"LLORCH_TAG": "y"}, yaml: "tag: [z]",
			want: with(func(v *values) { v.Tags = []string{"x"} }),
		},
		"what is not repeatable may have lines": {
			env:  map[string]string{"LLORCH_MODEL": "a\nb"},
			want: with(func(v *values) { v.Model = "a\nb" }),
		},

		"an alias": {env: map[string]string{"BUILDKIT_HOST": "tcp://a:1"}, want: with(func(v *values) { v.Builder = "tcp://a:1" })},
		"ours beats an alias": {
			env:  map[string]string{"BUILDKIT_HOST": "tcp://a:1", "LLORCH_BUILDER": "tcp://b:1"},
			want: with(func(v *values) { v.Builder = "tcp://b:1" }),
		},
		"an alias beats the file": {
			env: map[string]string{"BUILDKIT_HOST": "tcp://a:1"}, yaml: "builder: tcp://c:1",
			want: with(func(v *values) { v.Builder = "tcp://a:1" }),
		},

		"a flag of another command": {yaml: "port: 8080\nmodel: m", want: with(func(v *values) { v.Model = "m" })},
		"env has no word in what is only typed": {
			env: map[string]string{"LLORCH_JSON": "true", "LLORCH_HELP": "true", "LLORCH_ALL": "true"}, want: unset,
		},
		"env of no flag is none of ours": {env: map[string]string{"LLORCH_CACHE_DIR": "/c"}, want: unset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, err := apply(t, c.words, c.env, c.yaml)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		yaml string
		want []string // each is in the error
	}{
		"an unknown name":      {yaml: "modell: m", want: []string{`settings.yaml: unknown setting "modell"`}},
		"all unknown names":    {yaml: "a: 1\nb: 2", want: []string{`"a"`, `"b"`}},
		"unknown, no value":    {yaml: "modell:", want: []string{`"modell"`}},
		"unknown, empty list":  {yaml: "modell: []", want: []string{`"modell"`}},
		"only typed: json":     {yaml: "json: true", want: []string{`unknown setting "json"`}},
		"only typed: all":      {yaml: "all: true", want: []string{`unknown setting "all"`}},
		"only typed: file":     {yaml: "file: x", want: []string{`unknown setting "file"`}},
		"only typed: help":     {yaml: "help: true", want: []string{`unknown setting "help"`}},
		"a bad value":          {yaml: "jobs: many", want: []string{"settings.yaml: jobs:", `"many"`}},
		"a bad value in env":   {env: map[string]string{"LLORCH_JOBS": "many"}, want: []string{"LLORCH_JOBS=many:"}},
		"a list for one value": {yaml: "model: [a, b]", want: []string{"settings.yaml: model: takes one value, not a list"}},
		"settings inside":      {yaml: "model: {a: b}", want: []string{`"model" must be a value or a list of values`}},
		"a list inside":        {yaml: "tag: [[a]]", want: []string{`"tag" must be a value or a list of values`}},
		"no YAML":              {yaml: "model: [", want: []string{"is not YAML with names and values"}},
		"no names":             {yaml: "- model", want: []string{"is not YAML with names and values"}},
		"a name twice":         {yaml: "model: a\nmodel: b", want: []string{"is not YAML with names and values", "already defined"}},
		"everything at once":   {yaml: "modell: m\ncuda: maybe", env: map[string]string{"LLORCH_JOBS": "x"}, want: []string{`"modell"`, "cuda:", "LLORCH_JOBS=x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := apply(t, nil, c.env, c.yaml)
			if fault.ClassOf(err) != fault.Usage || err == nil {
				t.Fatalf("error = %v, want a fault.Usage", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error does not say %q:\n%v", w, err)
				}
			}
			if !strings.Contains(fault.Report(err), "what to do: ") {
				t.Errorf("the error does not say what to do:\n%v", err)
			}
		})
	}
}

// Whether the user chose a value, or left it to us, is seen by commands through
// Changed; a choice in the environment or the file is one.
func TestChosenIsChanged(t *testing.T) {
	t.Parallel()
	_, cmd, err := apply(t, nil, map[string]string{"LLORCH_JOBS": "2"}, "model: m")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"jobs": true, "model": true, "builder": false, "tag": false} {
		if got := cmd.Flags().Changed(name); got != want {
			t.Errorf("%s: changed = %v, want %v", name, got, want)
		}
	}
}

func TestPersistentFlags(t *testing.T) {
	t.Parallel()
	_, cmd, err := apply(t, nil, nil, "progress: plain")
	if err != nil {
		t.Fatal(err)
	}
	if got := cmd.Flag("progress").Value.String(); got != "plain" {
		t.Errorf("progress = %q, want plain", got)
	}
}

// Which file is read: the one that is named, by flag before environment, else
// the default one where there is one.
func TestFile(t *testing.T) {
	write := func(name, model string) {
		if err := os.WriteFile(name, []byte("model: "+model), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	model := func(env map[string]string, file string) (string, error) {
		cmd, v := command()
		err := settings.Apply(cmd, func(name string) string { return env[name] }, file)
		return v.Model, err
	}
	t.Chdir(t.TempDir())
	if got, err := model(nil, ""); err != nil || got != "default model" {
		t.Errorf("without a file: %q (%v)", got, err)
	}
	write(settings.DefaultFile, "from the default file")
	write("flag.yaml", "from the flag's")
	write("env.yaml", "from the environment's")
	env := map[string]string{"LLORCH_FILE": "env.yaml"}
	for _, c := range []struct {
		env  map[string]string
		file string
		want string
	}{
		{nil, "", "from the default file"},
		{env, "", "from the environment's"},
		{env, "flag.yaml", "from the flag's"},
	} {
		if got, err := model(c.env, c.file); err != nil || got != c.want {
			t.Errorf("env %v, --file %q: %q (%v), want %q", c.env, c.file, got, err, c.want)
		}
	}
	// What was named must be there; a folder is no file.
	for _, c := range []struct {
		env  map[string]string
		file string
	}{
		{nil, "absent.yaml"},
		{map[string]string{"LLORCH_FILE": "absent.yaml"}, ""},
		{nil, t.TempDir()},
	} {
		if _, err := model(c.env, c.file); fault.ClassOf(err) != fault.Usage || !strings.Contains(fault.Report(err), "name an existing file with --file") {
			t.Errorf("env %v, --file %q: error = %v, want a fault.Usage", c.env, c.file, err)
		}
	}
}

func TestEnvName(t *testing.T) {
	t.Parallel()
	if got := settings.EnvName("cuda-arch"); got != "LLORCH_CUDA_ARCH" {
		t.Errorf("EnvName = %s", got)
	}
}
