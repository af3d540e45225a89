package settings_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/spf13/cobra"
)

// A setting is named as the user gave it.
func TestNames(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "llorch.yaml")
	if err := os.WriteFile(file, []byte("# ours\nport: 1\ntags:\n  - a\n  - b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := &cobra.Command{Use: "llorch-bk"}
	run, build := &cobra.Command{Use: "run"}, &cobra.Command{Use: "build"}
	root.AddCommand(run, build)
	run.Flags().String("listen", "", "")
	run.Flags().String("memory", "", "")
	run.Flags().Int("port", 0, "")
	run.Flags().StringArray("tags", nil, "")
	build.Flags().String("variant", "", "")
	env := func(name string) string { return map[string]string{"LLORCH_LISTEN": "x"}[name] }
	if err := run.ParseFlags([]string{"--memory", "1g"}); err != nil {
		t.Fatal(err)
	}
	if err := settings.Apply(run, env, file); err != nil {
		t.Fatal(err)
	}
	names := settings.Names(run)
	for _, c := range []struct{ setting, value, want string }{
		{"listen", "", "LLORCH_LISTEN"},
		{"memory", "", "--memory"},
		{"port", "", file + ":2 port"},
		{"tags", "", file + ":4 tags"},
		// An advice with a value is one to type.
		{"listen", "0.0.0.0", "--listen 0.0.0.0"},
		{"variant", "vulkan", "--variant vulkan"},
		{"variant", "", "--variant"},
		{"nothing", "", ""},
	} {
		if got := names(c.setting, c.value); got != c.want {
			t.Errorf("%s=%s: %q, want %q", c.setting, c.value, got, c.want)
		}
	}
}
