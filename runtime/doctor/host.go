package doctor

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// Host is this machine.
type Host struct {
	// EngineAddr is the address that Engine asks; empty means the default socket.
	// EngineChosen is true if the user chose it (DOCKER_HOST, a context).
	EngineAddr   string
	EngineChosen bool
	// Terminal is true if a person can be asked.
	Terminal bool
	// Engine asks the engine for its version and features; see AskEngine.
	Engine func(context.Context) (EngineInfo, error)
}

var (
	_ System = Host{}
	_ Runner = Host{}
)

// logLines is the number of lines of a command's output that Run returns.
const logLines = 20

// Platform implements System.
func (h Host) Platform() Platform {
	p := Platform{
		OS: runtime.GOOS, UID: os.Geteuid(), Terminal: h.Terminal,
		EngineAddr: h.EngineAddr, EngineChosen: h.EngineChosen,
	}
	if p.EngineAddr == "" {
		p.EngineAddr = defaultSocket
	}
	if u, err := user.Current(); err == nil {
		p.User = u.Username
	}
	p.Groups, _ = os.Getgroups()
	return p
}

// ReadFile implements System.
func (Host) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

// Exists implements System.
func (Host) Exists(path string) bool { _, err := os.Stat(path); return err == nil }

// Glob implements System.
func (Host) Glob(pattern string) []string { found, _ := filepath.Glob(pattern); return found }

// LookPath implements System.
func (Host) LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}

// Dial implements System.
func (Host) Dial(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Ping implements System. It gives the engine five seconds to answer.
func (h Host) Ping(ctx context.Context) (EngineInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return h.Engine(ctx)
}

// Run implements Runner. The command reads the terminal, for sudo's password. When ctx ends
// it gets SIGTERM, so that a package manager can finish its transaction.
func (Host) Run(ctx context.Context, argv []string, log func(string)) ([]string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	cmd.Stdin = os.Stdin
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	var last []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			last = append(last, lines.Text())
			last = last[max(0, len(last)-logLines):]
			log(lines.Text())
		}
		// A line that is too long must not block the command.
		_, _ = io.Copy(io.Discard, out)
	}()
	err := cmd.Run()
	in.Close()
	<-done
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return slices.Clone(last), err
}
