package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/jsonmessage"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// tailLines is the number of lines of a failed step's log that an error shows.
const tailLines = 20

// tail passes progress on. It keeps the last lines of each step's log, for the step that
// fails.
type tail struct {
	next   func(*client.SolveStatus)
	mu     sync.Mutex
	names  map[digest.Digest]string
	lines  map[digest.Digest][]string
	rest   map[digest.Digest]string
	steps  map[digest.Digest]Step
	killed map[digest.Digest]bool
	noMem  map[digest.Digest]bool
	full   map[digest.Digest]bool
	// open is the first line of a step's log that reports something missing.
	open map[digest.Digest]string
	// objects are the steps' counts of compiles.
	objects map[digest.Digest]Objects
	// what maps vertices to the steps that they are.
	what   map[digest.Digest]llb.Step
	failed digest.Digest
}

func newTail(next func(*client.SolveStatus)) *tail {
	return &tail{
		next: next, names: map[digest.Digest]string{}, lines: map[digest.Digest][]string{}, rest: map[digest.Digest]string{}, steps: map[digest.Digest]Step{},
		killed: map[digest.Digest]bool{}, noMem: map[digest.Digest]bool{}, full: map[digest.Digest]bool{}, open: map[digest.Digest]string{}, objects: map[digest.Digest]Objects{}, what: map[digest.Digest]llb.Step{},
	}
}

func (t *tail) update(s *client.SolveStatus) {
	t.mu.Lock()
	for _, v := range s.Vertexes {
		t.names[v.Digest] = v.Name
		t.step(v)
		// Steps that were cancelled because another failed also report an error.
		if v.Error != "" && t.failed == "" && !strings.HasSuffix(v.Error, context.Canceled.Error()) {
			t.failed = v.Digest
		}
	}
	for _, l := range s.Logs {
		parts := strings.Split(t.rest[l.Vertex]+string(l.Data), "\n")
		t.rest[l.Vertex] = parts[len(parts)-1]
		lines := slices.Concat(t.lines[l.Vertex], parts[:len(parts)-1])
		for _, line := range parts[:len(parts)-1] {
			if o, ok := objectsIn(line); ok {
				t.objects[l.Vertex] = o
			}
		}
		t.killed[l.Vertex] = t.killed[l.Vertex] || slices.ContainsFunc(parts, killedCompiler)
		t.noMem[l.Vertex] = t.noMem[l.Vertex] || slices.ContainsFunc(parts, noMemory.MatchString)
		t.full[l.Vertex] = t.full[l.Vertex] || slices.ContainsFunc(parts, fullDisk)
		if i := slices.IndexFunc(parts, missing.MatchString); i >= 0 && t.open[l.Vertex] == "" {
			t.open[l.Vertex] = strings.TrimSpace(parts[i])
		}
		if len(lines) > tailLines {
			lines = lines[len(lines)-tailLines:]
		}
		t.lines[l.Vertex] = lines
	}
	t.mu.Unlock()
	if t.next != nil {
		t.next(s)
	}
}

// killedCompiler matches gcc's and clang's messages for a compiler that got signal 9, which
// the kernel sends when memory runs out.
func killedCompiler(line string) bool {
	return strings.Contains(line, "Killed signal terminated program") ||
		strings.Contains(line, "unable to execute command: Killed") ||
		strings.HasPrefix(line, "llorch-bk: clang") && strings.Contains(line, ": signal 9 (")
}

// noMemory matches messages of gcc, clang, the linker and the program loader when an
// allocation fails.
var noMemory = regexp.MustCompile(`virtual memory exhausted|[Cc]annot allocate memory|out of memory|std::bad_alloc|failed to map segment from shared object|memory exhausted`)

// fullDisk matches the message of compilers, linkers and shells for a full disk.
func fullDisk(line string) bool { return strings.Contains(line, "No space left on device") }

// missing matches messages of CMake, Ninja, compilers, linkers and our own checks about
// something that is missing.
var missing = regexp.MustCompile(`No such file or directory|file not found|Cannot find source file|missing and no known rule|undefined reference|undefined symbol|cannot find -l|failed to open for reading|no part has compiled|does not exist|not an existing|^llorch-bk: .* needs .* does not have it|^llorch-bk: the server does not start`)

// Incomplete means that a build in parts failed because something was missing. The tree may
// have it where its parts do not look, so a build in one step may succeed.
type Incomplete struct {
	// Line is the step's message.
	Line string
	// Err is the step's error.
	Err error
}

func (i *Incomplete) Error() string { return i.Err.Error() }

// Unwrap returns the step's error.
func (i *Incomplete) Unwrap() error { return i.Err }

// failure returns the name of the step that failed and the end of its log.
func (t *tail) failure() (string, []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := slices.Clone(t.lines[t.failed])
	if rest := t.rest[t.failed]; rest != "" {
		lines = append(lines, rest)
	}
	return t.names[t.failed], lines
}

// about returns the failed step's kind, what it missed, and whether a disk was full.
func (t *tail) about() (kind llb.StepKind, open string, full bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.what[t.failed].Kind, t.open[t.failed], t.full[t.failed]
}

// outOfMemory says what happened to a compiler for lack of memory; empty if the step failed
// for another reason.
func (t *tail) outOfMemory() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.killed[t.failed]:
		return "was killed, most likely by the kernel for lack of memory"
	case t.noMem[t.failed]:
		return "could not allocate memory"
	}
	return ""
}

// explain turns a failed solve into an error for a person.
func (b *Builder) explain(ctx context.Context, what string, err error, t *tail) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var f *fault.Fault
	if errors.As(err, &f) {
		return f
	}
	if denied := b.Policy.Explain(err); denied != nil {
		return denied
	}
	msg := err.Error()
	switch {
	case strings.Contains(msg, "no space left on device"):
		return fault.New(fault.Build, what, errors.New("the builder's disk is full"), "free some: docker system df, docker builder prune")
	case strings.Contains(msg, "failed to push"):
		return fault.New(fault.Build, "the image was built, but the push failed", errors.New(reason(err)),
			"log in with docker login; name a registry without TLS with --insecure-registry")
	case builderGone(msg):
		return fault.New(fault.Build, what, fmt.Errorf("the connection to %s broke during the build: %s", b, reason(err)),
			"read its log, start it again and repeat the command: finished steps are cached")
	}
	if t == nil {
		return fault.New(fault.Build, what, errors.New(reason(err)), "")
	}
	name, lines := t.failure()
	if name == "" {
		return fault.New(fault.Build, what, errors.New(reason(err)), "")
	}
	do := "the lines above are the end of the step's log; --progress plain shows the whole log"
	kind, open, full := t.about()
	if full {
		return fault.New(fault.Build, what, fmt.Errorf("step %s: the builder's disk is full", name), "free some: docker system df, docker builder prune").WithLines(lines)
	}
	if became := t.outOfMemory(); became != "" {
		return fault.New(fault.Build, what, fmt.Errorf("step %s: a compiler %s", name, became),
			"run fewer compilers at once (--jobs 1), or give the builder more memory").WithLines(lines)
	}
	switch kind {
	case llb.StepUI:
		do = "the web UI's packages come from npm's registry: check the builder's network, proxy and --ca-cert, or build without it: --no-ui"
	case llb.StepToolchain:
		do = "packages could not be installed: check the builder's network and proxy"
	case llb.StepCheck:
		do = "the image was discarded; the lines above say what it lacks"
	}
	// The step's name identifies it; its command line would fill the screen.
	why := errors.New(execPrefix.ReplaceAllString(reason(err), ""))
	if open != "" && (kind == llb.StepCompile || kind == llb.StepCheck) {
		why = &Incomplete{Line: open, Err: why}
	}
	return fault.New(fault.Build, what, fmt.Errorf("step %s: %w", name, why), do).WithLines(lines)
}

var execPrefix = regexp.MustCompile(`(?s)^.*(?:process|executor failed running) .* did not complete successfully: |^executor failed running \[.*\]: `)

// builderGone matches errors of a broken connection. The gRPC code does not survive every
// layer in between.
func builderGone(msg string) bool {
	for _, s := range []string{"code = Unavailable", "connection reset by peer", "broken pipe", "error reading from server: EOF", "transport is closing", "no active session", "closing transport"} {
		if strings.Contains(msg, s) {
			return true
		}
	}
	return false
}

// drainLoad reads an engine's answer to the end, because it may contain an error.
func drainLoad(r image.LoadResponse) error {
	if err := ReadAnswer(r.Body); err != nil {
		return fmt.Errorf("%w: %w", errLoad, err)
	}
	return nil
}

// ReadAnswer reads an engine's answer to a pull or a load to the end and closes it. The
// engine reports a failure inside the answer.
func ReadAnswer(body io.ReadCloser) error {
	defer body.Close()
	dec := json.NewDecoder(body)
	for {
		var m jsonmessage.JSONMessage
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != nil:
			return m.Error
		}
	}
}
