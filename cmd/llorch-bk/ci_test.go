package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/llorch/llorch-bk/llb/builder"
	"github.com/spf13/pflag"
)

// What the action and the pipelines to copy say to this program, it understands.
func TestCISpeaksThisProgram(t *testing.T) {
	t.Parallel()
	root := rootCommand(app.New())
	text := func(file string) string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var code strings.Builder
		for line := range strings.Lines(string(data)) {
			if !strings.HasPrefix(strings.TrimSpace(line), "#") {
				code.WriteString(line)
			}
		}
		return code.String()
	}
	flag := regexp.MustCompile(`--[a-z][a-z-]+`)
	check := func(file, command, words string) {
		cmd, _, err := root.Find([]string{command})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			return
		}
		for _, f := range flag.FindAllString(words, -1) {
			if cmd.Flag(f[2:]) == nil {
				t.Errorf("%s: %s has no %s", file, command, f)
			}
		}
	}
	// In the script, flags stand where they are put together. --arg is jq's.
	script := text("../ci/run.sh")
	check("run.sh", "build", strings.ReplaceAll(script, "jq -r --arg", ""))
	if n := len(flag.FindAllString(script, -1)); n < 10 {
		t.Errorf("%d flags in run.sh, which are too few to be all", n)
	}
	call := regexp.MustCompile(`(?m)\bllorch-bk (build|lock|verify|plan|version)\b(.*)`)
	setting := regexp.MustCompile(`\bLLORCH_[A-Z_]+`)
	for _, file := range []string{"../../action.yml", "../ci/install.sh", "../../e2e/ci/github-matrix.yml", "../../e2e/ci/gitlab-ci.yml"} {
		text := text(file)
		for _, m := range call.FindAllStringSubmatch(text, -1) {
			check(file, m[1], m[2])
		}
		build, _, err := root.Find([]string{"build"})
		if err != nil {
			t.Fatal(err)
		}
		known := map[string]bool{}
		build.Flags().VisitAll(func(f *pflag.Flag) { known[settings.EnvName(f.Name)] = true })
		for _, name := range setting.FindAllString(text, -1) {
			if !known[name] {
				t.Errorf("%s: %s sets no flag of build", file, name)
			}
		}
	}
	// One BuildKit everywhere.
	image := regexp.MustCompile(`moby/buildkit:v[0-9.]+@sha256:[0-9a-f]{64}`)
	want := image.FindString(builder.DefaultImage)
	if got := image.FindString(text("../../e2e/ci/gitlab-ci.yml")); want == "" || got != want {
		t.Errorf("the GitLab pipeline has %q, want %q", got, want)
	}
}
