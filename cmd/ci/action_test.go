package ci

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

const (
	actionFile  = "../../action.yml"
	exampleFile = "../../e2e/ci/github-matrix.yml"
)

type step struct {
	ID    string
	If    string
	Uses  string
	Shell string
	Run   string
	Env   map[string]string
	With  map[string]any
}

type action struct {
	Name, Description string
	Inputs            map[string]struct {
		Description string
		Default     *string
	}
	Outputs map[string]struct{ Description, Value string }
	Runs    struct {
		Using string
		Steps []step
	}
}

func read(t *testing.T, file string, into any) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return string(data)
}

var (
	inputUse  = regexp.MustCompile(`\binputs\.([A-Za-z0-9_-]+)`)
	outputUse = regexp.MustCompile(`^\$\{\{ steps\.([a-z-]+)\.outputs\.([a-z-]+) \}\}$`)
	variable  = regexp.MustCompile(`\bINPUT_[A-Z_]+`)
	sha       = regexp.MustCompile(`^[^@]+@[0-9a-f]{40}$`)
)

func TestAction(t *testing.T) {
	t.Parallel()
	var a action
	text := read(t, actionFile, &a)
	if a.Name == "" || a.Description == "" || a.Runs.Using != "composite" || len(a.Runs.Steps) == 0 {
		t.Fatalf("%+v", a)
	}
	used := map[string]bool{}
	for _, m := range inputUse.FindAllStringSubmatch(text, -1) {
		used[m[1]] = true
		if _, ok := a.Inputs[m[1]]; !ok {
			t.Errorf("there is no input %s", m[1])
		}
	}
	for name, in := range a.Inputs {
		if !used[name] || in.Description == "" || in.Default == nil {
			t.Errorf("the input %s is not used, described or has no default", name)
		}
	}
	run, err := os.ReadFile("run.sh")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	given := map[string]bool{}
	for i, s := range a.Runs.Steps {
		ids[s.ID] = true
		if s.Uses != "" && !sha.MatchString(s.Uses) {
			t.Errorf("step %d: %s is not pinned to a commit", i, s.Uses)
		}
		if s.Run != "" && s.Shell != "bash" {
			t.Errorf("step %d: a composite action's step needs a shell, and has %q", i, s.Shell)
		}
		if strings.Contains(s.Run, "${{") {
			t.Errorf("step %d: an expression in a script: %s", i, s.Run)
		}
		if strings.Contains(s.If, "${{") {
			t.Errorf("step %d: an expression in braces: %s", i, s.If)
		}
		for name, value := range s.Env {
			given[name] = true
			m := inputUse.FindStringSubmatch(value)
			if m == nil || value != "${{ inputs."+m[1]+" }}" || name != "INPUT_"+strings.ToUpper(strings.ReplaceAll(m[1], "-", "_")) {
				t.Errorf("step %d: %s is %s", i, name, value)
			}
		}
		if script, ok := strings.CutPrefix(s.Run, `bash "$GITHUB_ACTION_PATH/`); ok {
			if _, err := os.Stat(filepath.Join("../..", strings.TrimSuffix(script, `"`))); err != nil {
				t.Errorf("step %d: %v", i, err)
			}
		}
	}
	install, err := os.ReadFile("install.sh")
	if err != nil {
		t.Fatal(err)
	}
	wants := map[string]bool{}
	for _, name := range variable.FindAllString(string(run)+string(install), -1) {
		wants[name] = true
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(given)), slices.Sorted(maps.Keys(wants))); d != "" {
		t.Errorf("what the action gives, and what its scripts take (-gives +take):\n%s", d)
	}
	for name, out := range a.Outputs {
		m := outputUse.FindStringSubmatch(out.Value)
		if m == nil || !ids[m[1]] || out.Description == "" {
			t.Errorf("output %s: %+v", name, out)
		} else if !regexp.MustCompile(`[" \n]` + m[2] + `(=|<<)`).Match(run) {
			t.Errorf("output %s: no script writes %s", name, m[2])
		}
	}
}

// The example that people copy fits the action, and gives nobody more than is needed.
func TestExample(t *testing.T) {
	t.Parallel()
	var a action
	read(t, actionFile, &a)
	var w struct {
		Permissions map[string]string
		Jobs        map[string]struct {
			Permissions map[string]string
			Steps       []step
		}
	}
	read(t, exampleFile, &w)
	if d := cmp.Diff(map[string]string{"contents": "read"}, w.Permissions); d != "" {
		t.Errorf("permissions (-want +got):\n%s", d)
	}
	uses := 0
	for name, j := range w.Jobs {
		for _, s := range j.Steps {
			where := fmt.Sprintf("job %s, %s%s", name, s.Uses, s.Run)
			if strings.Contains(s.Run, "${{") {
				t.Errorf("%s: an expression in a script", where)
			}
			if !strings.HasPrefix(s.Uses, "llorch/llorch-bk@") {
				if s.Uses != "" && !sha.MatchString(s.Uses) {
					t.Errorf("%s: not pinned to a commit", where)
				}
				continue
			}
			uses++
			for in := range s.With {
				if _, ok := a.Inputs[in]; !ok {
					t.Errorf("%s: the action has no input %s", where, in)
				}
			}
		}
	}
	if uses == 0 {
		t.Error("the example does not use the action")
	}
}

// The pipeline for GitLab is YAML whose scripts are lines of a shell.
func TestPipeline(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	var jobs map[string]any
	read(t, "../../e2e/ci/gitlab-ci.yml", &jobs)
	for _, name := range []string{".llorch-bk", "build", "lock"} {
		job, ok := jobs[name].(map[string]any)
		if !ok {
			t.Errorf("%s is %v", name, jobs[name])
			continue
		}
		for _, key := range []string{"before_script", "script"} {
			lines, _ := job[key].([]any)
			for _, line := range lines {
				text, ok := line.(string)
				if !ok {
					t.Errorf("%s: %s has a line that is no text: %v", name, key, line)
				}
				if out, err := exec.CommandContext(t.Context(), bash, "-n", "-c", text).CombinedOutput(); err != nil {
					t.Errorf("%s: %q: %s", name, text, out)
				}
			}
		}
	}
}
