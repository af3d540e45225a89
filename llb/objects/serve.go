package objects

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"

	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/session/sshforward"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Register makes the session forward the carrier's socket.
func (c *Carrier) Register(s *grpc.Server) { sshforward.RegisterSSHServer(s, c) }

// CheckAgent reports whether the session has a socket with this id.
func (c *Carrier) CheckAgent(_ context.Context, r *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	if r.ID != llb.ObjectsSocket {
		return nil, status.Errorf(codes.NotFound, "no socket %s", r.ID)
	}
	return &sshforward.CheckAgentResponse{}, nil
}

// ForwardAgent serves one connection of a step.
func (c *Carrier) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if id := md.Get(sshforward.KeySSHID); len(id) != 1 || id[0] != llb.ObjectsSocket {
		return status.Error(codes.NotFound, "no such socket")
	}
	theirs, ours := net.Pipe()
	if err := c.conns.give(stream.Context(), ours); err != nil {
		return err
	}
	return sshforward.Copy(stream.Context(), theirs, stream, nil)
}

// slotName and toolchainName match valid names of slots and compilers.
var (
	slotName      = regexp.MustCompile(`^[a-z0-9._-]+/[A-Za-z0-9._-]+/[0-9a-f]{12}$`)
	toolchainName = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// routes are the requests of a step.
func (c *Carrier) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slots/{slot...}", named(c.get))
	mux.HandleFunc("PUT /slots/{slot...}", named(c.put))
	mux.HandleFunc("GET /wanted", func(w http.ResponseWriter, _ *http.Request) {
		if c.cfg.To == nil {
			http.Error(w, "objects are only read", http.StatusForbidden)
		}
	})
	return mux
}

// named passes on requests with valid names of a slot and a compiler.
func named(next func(w http.ResponseWriter, r *http.Request, slot, toolchain string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		slot, toolchain := r.PathValue("slot"), r.URL.Query().Get("toolchain")
		if !slotName.MatchString(slot) || !toolchainName.MatchString(toolchain) {
			http.Error(w, "no such slot", http.StatusBadRequest)
			return
		}
		next(w, r, slot, toolchain)
	}
}

func (c *Carrier) get(w http.ResponseWriter, r *http.Request, slot, toolchain string) {
	sources, err := c.sources(r.Context())
	if err != nil {
		return
	}
	for _, s := range sources {
		e, ok := find(s.entries, slot, toolchain)
		if !ok {
			continue
		}
		if c.send(w, r, s.ref, e) {
			return
		}
	}
	http.NotFound(w, r)
}

// send streams a slot from its registry; false if nothing was sent.
func (c *Carrier) send(w http.ResponseWriter, r *http.Request, ref Ref, e entry) bool {
	body, err := c.open(r.Context(), ref, e)
	if err != nil {
		c.fails("%s: cannot read it: %v", ref.Name, err)
		return false
	}
	defer body.Close()
	w.Header().Set("Content-Length", strconv.FormatInt(e.size, 10))
	n, err := io.Copy(w, body)
	if err != nil {
		c.fails("%s: cannot read it: %v", ref.Name, err)
		// The step receives too few bytes, and so discards the slot.
		panic(http.ErrAbortHandler)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.report.From == "" {
		c.report.From = ref.Name
	}
	c.report.Pulled += n
	return true
}

func (c *Carrier) put(w http.ResponseWriter, r *http.Request, slot, toolchain string) {
	if c.cfg.To == nil {
		http.Error(w, "objects are only read", http.StatusForbidden)
		return
	}
	err := c.keep(slot, toolchain, http.MaxBytesReader(w, r.Body, c.cfg.Max))
	if err == nil {
		return
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		c.fails("is too small: %s is larger than objects-max", slot)
	} else {
		c.fails("does not store %s: %v", slot, err)
	}
	http.Error(w, "not stored", http.StatusBadRequest)
}

func (c *Carrier) fails(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notice(format, args...)
}

// listener accepts the connections that a session forwards.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *listener) give(ctx context.Context, c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.done:
		return net.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is the address of a pipe.
func (l *listener) Addr() net.Addr { return pipe{} }

type pipe struct{}

func (pipe) Network() string { return "pipe" }
func (pipe) String() string  { return "session" }
