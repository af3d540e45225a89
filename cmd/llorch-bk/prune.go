package main

import (
	"fmt"
	"strings"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/spf13/cobra"
)

func pruneCommand(a *app.App) *cobra.Command {
	var opt app.PruneOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "prune [KIND ...]",
		Short: "Remove what llorch-bk left on this machine and nothing uses",
		Long: `Prune lists what llorch-bk left on this machine and nothing uses, with sizes, asks, and
removes it: its own builder with the cache, images without a container, model volumes
that no pool mounts, and caches that can be rebuilt. Models are kept. KIND is one or
more of ` + strings.Join(app.PruneKinds, ", ") + ` (default: all).`,
		Example: `  llorch-bk prune
  llorch-bk prune builders --yes
  llorch-bk prune --dry-run --json`,
		ValidArgs: app.PruneKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Kinds = args
			found, err := a.Prune(cmd.Context(), opt)
			switch {
			case asJSON:
				if found == nil {
					found = []app.Leftover{}
				}
				if perr := printJSON(a.Out, found); err == nil {
					err = perr
				}
			case err == nil && len(found) == 0:
				fmt.Fprintln(a.Out, "nothing to remove")
			case err == nil && opt.DryRun:
				app.PrintLeftovers(a.Out, found)
			default:
				for _, l := range found {
					if l.Removed {
						fmt.Fprintf(a.Out, "removed %s\n", l.Name)
					}
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&opt.Yes, "yes", false, "remove without asking")
	cmd.Flags().BoolVar(&opt.DryRun, "dry-run", false, "print what would be removed; remove nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}
