package app

import (
	"bufio"
	"context"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// atTerminal reports whether a person can be asked.
func atTerminal() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
}

// answer reads a yes or no from the terminal. Anything but yes is a no.
func answer(ctx context.Context) (bool, error) {
	line, err := readLine(ctx)
	switch strings.ToLower(line) {
	case "y", "yes":
		return err == nil, err
	}
	return false, err
}

// number reads a number from the terminal; 0 for anything else.
func number(ctx context.Context) (int, error) {
	line, err := readLine(ctx)
	n, _ := strconv.Atoi(line) // 0 where it is none
	return n, err
}

func readLine(ctx context.Context) (string, error) {
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		said <- line
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case line := <-said:
		return strings.TrimSpace(line), nil
	}
}
