// Command modern starts a current Docker engine beside the machine's own, runs a command
// with DOCKER_HOST set to it, and removes the engine.
//
//	go run ./e2e/modern make e2e-real-docker
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/llorch/llorch-bk/fixtures/dockerd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(max(1, exit.ExitCode()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "modern:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command []string) error {
	if len(command) == 0 {
		return errors.New("name a command to run with a modern engine")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	// The path must be short, because a socket's path has at most 107 bytes.
	dir, err := os.MkdirTemp("", "dockerd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	programs := filepath.Join(cache, "llorch-bk", "programs")
	if err := os.MkdirAll(programs, 0o755); err != nil {
		return err
	}
	began := time.Now()
	d, err := dockerd.Start(ctx, programs, dir)
	if err != nil {
		return err
	}
	defer d.Remove()
	fmt.Printf("%s at %s, after %.0f s\n", dockerd.Module, d.Host, time.Since(began).Seconds())
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.Host)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	err = cmd.Run()
	if err != nil {
		if log, rerr := os.ReadFile(d.Log); rerr == nil {
			os.Stderr.Write(log[max(0, len(log)-4000):])
		}
	}
	return err
}
