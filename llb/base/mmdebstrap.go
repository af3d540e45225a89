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

// lastLines is how many of mmdebstrap's lines a failure shows.
const lastLines = 20

// grace is how long mmdebstrap may take to clean up after it was told to stop.
const grace = 20 * time.Second

// arguments are mmdebstrap's, for one suite from some sources. What dpkg leaves
// out here it also leaves out later, in builds on the image, because mmdebstrap
// keeps these options in it. Copyright files stay: licences ask for them.
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

// environment is what mmdebstrap and the packages' scripts see: the caller's,
// made deterministic. Scripts need the administrator's folders in PATH, which a
// user's shell often lacks.
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
	// Without root the folder has to be open to a mapped user, so /tmp is left to it.
	if o.root {
		kept = append(kept, "TMPDIR="+scratch)
	}
	return kept
}

// runMmdebstrap runs it and hands its tarball to take. It gives the last lines
// that mmdebstrap said.
func runMmdebstrap(ctx context.Context, o Options, s sources, scratch string, take func(io.Reader) error) ([]string, error) {
	run, stop := context.WithCancel(ctx)
	defer stop()
	p, err := start(run, o, s, scratch, o.root)
	if errors.Is(err, syscall.EPERM) && o.root {
		// Root in a container that may not unshare may not mount either, so
		// there is nothing to keep apart.
		p, err = start(run, o, s, scratch, false)
	}
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		err := p.cmd.Wait()
		// Only now do the pipes surely end: a child that missed its signal
		// would hold them open.
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
	// In a group of its own, so that its children hear it too when it has to
	// stop; a terminal's Ctrl-C reaches it through the context.
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

// endGroup ends what is left of a process group and waits a little for it, so
// that nothing still writes into a folder that is about to be deleted.
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

// endedEarly says that the tarball ended too soon, of which mmdebstrap's own
// failure is the cause.
func endedEarly(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errNoSystem)
}

// explain turns mmdebstrap's failure into one that says what to do.
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
		return failed("the disk is full", "free at least 1 GB for "+o.Dir+" and the temporary folder, then run it again")
	case has("NO_PUBKEY", "is not signed", "Missing key", "cannot read signed-by"):
		return failed("the archive's signing keys are not here", "apt-get install debian-archive-keyring")
	case has("Could not resolve", "Temporary failure resolving", "Could not connect", "Unable to connect",
		"Connection failed", "Connection timed out", "Failed to fetch", "does not have a Release file"):
		return failed("a package mirror cannot be reached",
			"check the network, the proxy variables (http_proxy) and the mirror in this machine's apt sources")
	case !o.root && has("newuidmap", "subuid", "unshare", "mknod", "not permitted"):
		return failed("without root it needs user namespaces, which are not set up here",
			"run the same command as root (sudo), or install uidmap and give this user ranges in /etc/subuid and /etc/subgid")
	default:
		return failed("mmdebstrap failed", "see its last lines above; it can be run again")
	}
}

// blames says that a failure is about one repository.
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

// Write takes whole and partial lines.
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
