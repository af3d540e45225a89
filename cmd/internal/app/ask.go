package app

import (
	"bufio"
	"context"
	"os"
	"strings"

	"golang.org/x/term"
)

// atTerminal says whether there is a person to ask.
func atTerminal() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
}

// answer reads a yes or no from the terminal.
func answer(ctx context.Context) (bool, error) {
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		said <- line
	}()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case line := <-said:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true, nil
		}
		return false, nil
	}
}
