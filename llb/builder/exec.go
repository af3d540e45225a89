package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/llorch/llorch-bk/llb/buildkit"
)

const (
	// environment is a file in the container that sets the daemon's variables. They are
	// not in the container's configuration, because a proxy's address can contain a
	// password and everybody who may inspect the container can read its configuration.
	environment = "/etc/llorch-environment"
	// startCommand is the shell command that starts the daemon.
	startCommand = "[ ! -f " + environment + " ] || . " + environment + `; exec buildkitd "$@"`
	// errorLimit is how much of an exec's standard error is kept, in bytes.
	errorLimit = 1024
)

// environmentArchive returns a tar archive with the file of the daemon's variables.
func (m Manager) environmentArchive() (io.Reader, error) {
	var text strings.Builder
	for _, e := range m.Env {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&text, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Name: path.Base(environment), Mode: 0o600, Size: int64(text.Len())})
	if err == nil {
		_, err = io.WriteString(w, text.String())
	}
	return &out, errors.Join(err, w.Close())
}

// dialContainer connects to the daemon in the container once. A call to a daemon that
// does not listen yet would fail late, so it has a deadline.
func (m Manager) dialContainer(ctx context.Context) (*buildkit.Builder, error) {
	answer, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	b, err := buildkit.Through(answer, "docker-container://"+m.name(), m.exec)
	if err != nil {
		return nil, err
	}
	b.Managed = true
	return b, nil
}

// exec returns a connection to the daemon in the container by way of the engine: the
// daemon has no address outside.
func (m Manager) exec(ctx context.Context) (net.Conn, error) {
	ex, err := m.Containers.ContainerExecCreate(ctx, m.name(), container.ExecOptions{
		AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: []string{"buildctl", "dial-stdio"},
	})
	if err != nil {
		return nil, err
	}
	resp, err := m.Containers.ContainerExecAttach(ctx, ex.ID, container.ExecAttachOptions{})
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		var said strings.Builder
		_, err := stdcopy.StdCopy(w, &limited{&said}, resp.Reader)
		if err == nil && said.Len() > 0 {
			err = errors.New(strings.TrimSpace(said.String()))
		}
		w.CloseWithError(err)
	}()
	return execConn{resp.Conn, r}, nil
}

// limited keeps the first errorLimit bytes that are written to it.
type limited struct{ b *strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if room := errorLimit - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// execConn is a connection that reads from the standard output in the engine's stream.
type execConn struct {
	net.Conn
	r *io.PipeReader
}

func (c execConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c execConn) Close() error {
	c.r.Close()
	return c.Conn.Close()
}

// containerLog returns the last lines of the container's log.
func (m Manager) containerLog(ctx context.Context) []string {
	r, err := m.Containers.ContainerLogs(ctx, m.name(), container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "20"})
	if err != nil {
		return nil
	}
	defer r.Close()
	var text strings.Builder
	if _, err := stdcopy.StdCopy(&text, &text, r); err != nil || text.Len() == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
}
