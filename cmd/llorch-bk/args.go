package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/spf13/cobra"
)

// splitArgs separates the image before -- from the server's flags after it.
func splitArgs(cmd *cobra.Command, args []string) (image string, server []string) {
	dash := cmd.ArgsLenAtDash()
	if dash < 0 {
		dash = len(args)
	}
	if dash > 0 {
		image = args[0]
	}
	return image, args[dash:]
}

func imageThenServerFlags(cmd *cobra.Command, args []string) error {
	return atMostBeforeDash(cmd, args, 1)
}

func onlyServerFlags(cmd *cobra.Command, args []string) error {
	return atMostBeforeDash(cmd, args, 0)
}

func atMostBeforeDash(cmd *cobra.Command, args []string, most int) error {
	dash := cmd.ArgsLenAtDash()
	if dash < 0 {
		dash = len(args)
	}
	if dash > most {
		return fault.New(fault.Usage, fmt.Sprintf("unexpected argument %q", args[most]), nil,
			"remove it; arguments for the server go after --, as in: "+cmd.CommandPath()+" -- --ctx-size 8192")
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printRunning prints how to use, follow and stop a server that is ready.
func printRunning(a *app.App, r app.Running, opt app.RunOptions, asJSON bool) error {
	if asJSON {
		return printJSON(a.Out, r.Handoff)
	}
	pool, dir := "", ""
	if opt.Pool != handoff.DefaultPool {
		pool = " " + opt.Pool
	}
	if opt.HandoffDir != app.DefaultHandoffDir {
		dir = " --handoff-dir " + opt.HandoffDir
	}
	replica := ""
	if opt.Replica != handoff.DefaultReplica {
		replica = " --replica " + opt.Replica
	}
	state := "is ready"
	if r.Already {
		state = "was running already and is ready"
	}
	fmt.Fprintf(a.Out, "%s %s at %s\n", r.Handoff.EngineVersion, state, r.Handoff.URL)
	fmt.Fprintf(a.Out, "  handoff  %s\n", r.HandoffPath)
	fmt.Fprintf(a.Out, "  ask      curl %s/completion -d '{\"prompt\":\"Once upon a time\",\"n_predict\":24}'\n", r.Handoff.URL)
	fmt.Fprintf(a.Out, "  follow   llorch-bk logs%s%s%s --follow\n", pool, replica, dir)
	fmt.Fprintf(a.Out, "  stop     llorch-bk stop%s%s\n", pool, dir)
	return nil
}
