// Command llorch-bk takes any commit of llama.cpp to a healthy, verified
// inference endpoint.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/log"
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/llorch/llorch-bk/images/fault"
	"golang.org/x/term"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main, with the exit code as its result.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		// The first Ctrl-C cleans up; a second one ends the process at once. Terminals and
		// parent processes often send the first one twice, so ignore it for a second.
		<-ctx.Done()
		time.Sleep(time.Second)
		stop()
	}()
	// Libraries log warnings that do not concern the user, such as a file system without
	// fs-verity. Real problems come back as errors.
	_ = log.SetLevel("error")
	a := app.New()
	cmd := rootCommand(a)
	cmd.SetArgs(args)
	ran, err := cmd.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	report(os.Stderr, err, settings.Names(ran), colours(os.Stderr))
	return int(fault.ClassOf(err))
}

// report prints an error: what failed and why, the end of a log, what to do. names gives
// the user's name for a setting.
func report(w io.Writer, err error, names func(setting, value string) string, colour bool) {
	label := "error: "
	if colour {
		label = "\x1b[1;31merror:\x1b[0m "
	}
	if fault.ClassOf(err) == fault.Interrupted {
		label = ""
	}
	fmt.Fprint(w, label+strings.TrimRight(fault.Name(fault.Report(err), names), "\n")+"\n")
}

// colours reports whether f is a terminal that shows colours. NO_COLOR turns them off:
// see no-color.org.
func colours(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}
