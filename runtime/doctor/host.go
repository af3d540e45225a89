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
	// EngineAddr is the address that Engine asks, and EngineChosen says that the
	// user chose it (DOCKER_HOST, a context). Empty means the default socket.
	EngineAddr   string
	EngineChosen bool
	// Terminal says that a person can be asked.
	Terminal bool
	// Engine asks the engine what it is; AskEngine does for a Docker client.
	Engine func(context.Context) (EngineInfo, error)
}

var (
	_ System = Host{}
	_ Runner = Host{}
)

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

// Ping implements System. An engine that does not answer within five seconds
// does not answer.
func (h Host) Ping(ctx context.Context) (EngineInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return h.Engine(ctx)
}

// Run implements Runner. The command has the terminal's input, for sudo's
// question, and gets SIGTERM when ctx ends, so that a package manager can
// finish what it must.
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
		// A line beyond all measure must not stop the command.
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
