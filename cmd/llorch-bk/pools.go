package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/spf13/cobra"
)

func stopCommand(a *app.App) *cobra.Command {
	var opt app.StopOptions
	var asJSON, dryRun bool
	cmd := &cobra.Command{
		Use:   "stop [POOL ...]",
		Short: "Stop pools and remove their handoffs",
		Long: `Stop stops the servers of this project's pools (default: the pool named default). It
removes their handoffs first, so that no program binds an endpoint that is about to
go away. Images and models are kept.`,
		Example: `  llorch-bk stop
  llorch-bk stop chat embed
  llorch-bk stop --all --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Pools = args
			if dryRun {
				plan, err := a.PlanStop(cmd.Context(), opt)
				return printPlan(cmd, a, plan, err, asJSON)
			}
			stopped, err := a.Stop(cmd.Context(), opt)
			for _, name := range stopped {
				fmt.Fprintf(a.Out, "stopped %s\n", name)
			}
			if err == nil && len(stopped) == 0 {
				fmt.Fprintln(a.Out, "nothing was running")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&opt.All, "all", false, "stop all pools of this project")
	addDryRun(cmd, &dryRun)
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --dry-run: print the plan as JSON")
	cmd.Flags().DurationVar(&opt.Grace, "grace", 15*time.Second, "kill a server that has not ended after this time")
	addHandoffDir(cmd, &opt.HandoffDir)
	return cmd
}

func psCommand(a *app.App) *cobra.Command {
	var opt app.PsOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List this project's pools",
		Long: `Ps lists this project's pools with the state that the engine reports, and repairs
missing or stale handoffs.`,
		Example: `  llorch-bk ps
  llorch-bk ps --all-projects --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pools, err := a.Ps(cmd.Context(), opt)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, pools)
			}
			if len(pools) == 0 {
				fmt.Fprintln(a.Out, "no pools; start one with: llorch-bk up")
				return nil
			}
			tw := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
			head := "POOL\tREPLICA\tSTATE\tURL\tIMAGE\tMODEL\tSINCE"
			if opt.AllProjects {
				head += "\tPROJECT"
			}
			fmt.Fprintln(tw, head)
			for _, p := range pools {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s", p.Pool, p.Replica, p.State, p.URL, p.Image, p.Model, since(p.Since))
				if opt.AllProjects {
					fmt.Fprintf(tw, "\t%s", p.Project)
				}
				fmt.Fprintln(tw)
			}
			return tw.Flush()
		},
	}
	cmd.Flags().BoolVar(&opt.AllProjects, "all-projects", false, "list the pools of every project on this engine")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the pools as JSON")
	addHandoffDir(cmd, &opt.HandoffDir)
	return cmd
}

func since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return units.HumanDuration(time.Since(t)) + " ago"
}

func logsCommand(a *app.App) *cobra.Command {
	var opt app.LogsOptions
	cmd := &cobra.Command{
		Use:   "logs [POOL]",
		Short: "Print a pool's log",
		Example: `  llorch-bk logs
  llorch-bk logs chat --follow`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Pool = "default"
			if len(args) == 1 {
				opt.Pool = args[0]
			}
			return a.Logs(cmd.Context(), opt)
		},
	}
	cmd.Flags().BoolVar(&opt.Follow, "follow", false, "keep printing new lines")
	cmd.Flags().StringVar(&opt.Replica, "replica", "r0", "print the log of the replica with this `id`")
	addHandoffDir(cmd, &opt.HandoffDir)
	return cmd
}
