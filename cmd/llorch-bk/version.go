package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images"
	"github.com/spf13/cobra"
)

// version is set by release builds: -ldflags "-X main.version=v1.2.3".
var version string

// versionInfo is what version --json prints.
type versionInfo struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	Modified  bool   `json:"modified,omitempty"`
	Go        string `json:"go"`
	Platform  string `json:"platform"`
	BuildKit  string `json:"buildkit_client,omitempty"`
	LlamaRef  string `json:"default_ref"`
	PlanModel int    `json:"plan_schema"`
}

func versionCommand(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  llorch-bk version\n  llorch-bk version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			if asJSON {
				return printJSON(a.Out, v)
			}
			_, err := fmt.Fprintf(a.Out, "llorch-bk %s (%s, %s, BuildKit client %s, llama.cpp %s)\n", v.Version, v.Platform, v.Go, v.BuildKit, v.LlamaRef)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the version as JSON")
	return cmd
}

// readVersion returns what the Go toolchain recorded: the module version for go install,
// the commit for a build from a checkout.
func readVersion() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, LlamaRef: images.DefaultRef, PlanModel: images.PlanSchema}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/moby/buildkit" {
			v.BuildKit = m.Version
		}
	}
	return v
}
