package base

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// lastLines is the number of mmdebstrap's lines that an error shows.
const lastLines = 20

// grace is the time that mmdebstrap has to clean up after it was told to stop.
const grace = 20 * time.Second

// arguments are mmdebstrap's arguments for one suite and some sources. mmdebstrap stores the
// dpkg options in the image, so builds on the image leave out the same files. Copyright files
// stay, because licences require them.
func arguments(o Options, s sources) []string {
	mode := "root"
	if !o.root {
		mode = "unshare"
	}
	args := []string{
		"--mode=" + mode, "--variant=minbase", "--format=tar", "--components=main",
		"--architectures=" + debianArch(o.Arch), "--skip=output/dev",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
	}
	for _, dir := range []string{"man", "info", "groff", "lintian", "linda", "locale"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+dir+"/*")
	}
	args = append(args,
		"--dpkgopt=path-include=/usr/share/locale/locale.alias",
		`--aptopt=Acquire::Languages "none"`,
		`--aptopt=APT::AutoRemove::SuggestsImportant "false"`,
	)
	if s.tls() {
		args = append(args, "--include=ca-certificates")
	}
	return append(append(args, o.Suite, "-"), s.arguments(o.Suite)...)
}

// environment is the environment of mmdebstrap and the packages' scripts: the caller's, made
// deterministic. Scripts need the administrator's folders in PATH, which many users' shells
// lack.
func environment(o Options, scratch string) []string {
	env := o.Env
	if env == nil {
		env = os.Environ()
	}
	search := "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
	kept := slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		path, isPath := strings.CutPrefix(kv, "PATH=")
		if isPath {
			search = path + ":" + search
		}
		return isPath || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG") || strings.HasPrefix(kv, "TMPDIR=")
	})
	kept = append(
		kept, "PATH="+search, "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", o.Epoch.Unix()),
	)
	// Without root, a mapped user must be able to open the folder, so /tmp is used.
	if o.root {
		kept = append(kept, "TMPDIR="+scratch)
	}
	return kept
}

// runMmdebstrap runs mmdebstrap and passes its tarball to take. It returns the last lines
// of its stderr.
func runMmdebstrap(ctx context.Context, o Options, s sources, scratch string, take func(io.Reader) error) ([]string, error) {
	run, stop := context.WithCancel(ctx)
	defer stop()
	p, err := start(run, o, s, scratch, o.root)
	if errors.Is(err, syscall.EPERM) && o.root {
		// Root in a container without the right to unshare has no right to mount either, so
		// nothing needs to be isolated.
		p, err = start(run, o, s, scratch, false)
	}
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		err := p.cmd.Wait()
		// The pipes end only after the whole group: a child that missed its signal would
		// hold them open.
		endGroup(p.cmd.Process.Pid)
		ended <- err
	}()
	said := &tail{log: o.Log}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		_, _ = io.Copy(said, p.stderr)
	}()
	took := take(p.stdout)
	if took != nil && !endedEarly(took) {
		stop()
	}
	p.stdout.Close()
	err = <-ended
	<-heard
	p.stderr.Close()
	switch {
	case ctx.Err() != nil:
		return said.lines(), context.Cause(ctx)
	case took != nil && !endedEarly(took):
		return said.lines(), took
	case err != nil:
		return said.lines(), err
	default:
		return said.lines(), took
	}
}

// process is a running mmdebstrap with our ends of its pipes.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File
}

func start(ctx context.Context, o Options, s sources, scratch string, apart bool) (process, error) {
	p := process{cmd: exec.CommandContext(ctx, o.Program, arguments(o, s)...)}
	p.cmd.Env = environment(o, scratch)
	// It gets its own process group, so that a signal also reaches its children. A
	// terminal's Ctrl-C reaches it through the context.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if apart {
		isolate(p.cmd.SysProcAttr)
	}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) }
	p.cmd.WaitDelay = grace
	stdout, out, err := os.Pipe()
	if err != nil {
		return p, err
	}
	defer out.Close()
	stderr, errs, err := os.Pipe()
	if err != nil {
		stdout.Close()
		return p, err
	}
	defer errs.Close()
	p.stdout, p.stderr, p.cmd.Stdout, p.cmd.Stderr = stdout, stderr, out, errs
	if err := p.cmd.Start(); err != nil {
		stdout.Close()
		stderr.Close()
		return p, err
	}
	return p, nil
}

// endGroup kills the rest of a process group and waits briefly, so that nothing still
// writes into a folder that is about to be deleted.
func endGroup(group int) {
	deadline := time.NewTimer(2 * time.Second)
	defer deadline.Stop()
	for syscall.Kill(-group, syscall.SIGKILL) == nil {
		select {
		case <-deadline.C:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// endedEarly reports whether the tarball ended too soon. Then mmdebstrap's own error is the
// cause.
func endedEarly(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errNoSystem)
}

// explain turns mmdebstrap's failure into an error with a remedy.
func explain(o Options, lines []string, err error) error {
	what := "cannot bootstrap Debian " + o.Suite
	said := strings.Join(lines, "\n")
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(said, p) })
	}
	failed := func(why string, do string) error {
		return fault.New(fault.Machine, what, fmt.Errorf("%s: %w", why, err), do).WithLines(lines)
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, exec.ErrNotFound):
		return failed("mmdebstrap is not installed", "apt-get install mmdebstrap")
	case errors.Is(err, syscall.ENOSPC), has("No space left on device"):
		return failed("the disk is full", "free at least 1 GB for "+o.Dir+" and the temporary folder, then repeat the command")
	case has("NO_PUBKEY", "is not signed", "Missing key", "cannot read signed-by"):
		return failed("the archive's signing keys are not installed", "apt-get install debian-archive-keyring")
	case has("Could not resolve", "Temporary failure resolving", "Could not connect", "Unable to connect",
		"Connection failed", "Connection timed out", "Failed to fetch", "does not have a Release file"):
		return failed("a package mirror is unreachable",
			"check the network, the proxy variables (http_proxy) and the mirror in this machine's apt sources")
	case !o.root && has("newuidmap", "subuid", "unshare", "mknod", "not permitted"):
		return failed("without root, mmdebstrap needs user namespaces, which are not set up",
			"run the same command as root (sudo), or install uidmap and give this user ranges in /etc/subuid and /etc/subgid")
	default:
		return failed("mmdebstrap failed", "read its last lines above, then repeat the command")
	}
}

// blames reports whether a failure is about one repository.
func blames(lines []string, uri string) bool {
	return uri != "" && slices.ContainsFunc(lines, func(l string) bool {
		return strings.Contains(l, uri+" ") || strings.Contains(l, uri+"/")
	})
}

// tail keeps the last lines of a stream and passes each one on.
type tail struct {
	log  func(string)
	mu   sync.Mutex
	part []byte
	last []string
}

// Write accepts whole and partial lines.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.part = append(t.part, p...)
	for {
		n, line, _ := bufio.ScanLines(t.part, false)
		if n == 0 {
			return len(p), nil
		}
		t.add(string(line))
		t.part = t.part[n:]
	}
}

func (t *tail) add(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	t.last = append(t.last, line)
	t.last = t.last[max(0, len(t.last)-lastLines):]
	if t.log != nil {
		t.log(line)
	}
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.part) > 0 {
		t.add(string(t.part))
		t.part = nil
	}
	return slices.Clone(t.last)
}
