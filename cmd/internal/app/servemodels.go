package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/mirror"
)

const (
	// DefaultMirrorPort is where the store is served unless the user says otherwise.
	DefaultMirrorPort = 8989
	// mirrorGrace is how long a stop waits for transfers to end. Clients resume.
	mirrorGrace = 10 * time.Second
	// maxTokenFile bounds what is read as a token, in bytes.
	maxTokenFile = 4096
)

// ServeModelsOptions say where the store is served, and to whom.
type ServeModelsOptions struct {
	// Listen is an IP address of this machine, Port 0 a free one.
	Listen string
	Port   int
	// TokenFile has the token that clients must send; empty for none.
	TokenFile string
	// JSON prints events for a program.
	JSON bool
}

// ServeModels serves the store in the Hub's API until ctx ends, which is no error.
func (a *App) ServeModels(ctx context.Context, opt ServeModelsOptions) error {
	addr, err := netip.ParseAddr(opt.Listen)
	if err != nil {
		return fault.New(fault.Usage, fmt.Sprintf("--listen must be an IP address, got %q", opt.Listen), nil, "use 127.0.0.1 for this machine only, 0.0.0.0 for every address of it")
	}
	if opt.Port < 0 || opt.Port > 65535 {
		return fault.New(fault.Usage, fmt.Sprintf("--port must be 0–65535, got %d", opt.Port), nil, "use 0 for a free port")
	}
	token, err := mirrorToken(opt.TokenFile)
	if err != nil {
		return err
	}
	f, err := a.fetcher(nil)
	if err != nil {
		return err
	}
	repos, err := f.Store.Repositories()
	if err != nil {
		return storeFault(f.Store, err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(opt.Listen, strconv.Itoa(opt.Port)))
	if err != nil {
		return fault.New(fault.Usage, "the models cannot be served", err, "choose another --port, or --port 0 for a free one, and for --listen an address of this machine")
	}
	say := &mirrorLog{out: a.Out, err: a.Err, json: opt.JSON}
	say.listening(listener.Addr(), len(repos), f.Store.Dir())
	if token == "" && !addr.IsLoopback() {
		say.warn("anyone who reaches this address can download the models: --token-file FILE asks clients for a token, --listen 127.0.0.1 keeps to this machine")
	}
	m := &mirror.Mirror{Store: f.Store, Token: token, Saw: say.request, Withdrew: func(path, why string) {
		say.warn(path + " is not served any more: " + why + "; llorch-bk model verify --repair fetches it again")
	}}
	return serve(ctx, listener, m.Handler(), say)
}

// serve answers requests until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler, say *mirrorLog) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // clients that hang up are no news
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fault.New(fault.Machine, "the models cannot be served any more", err, "")
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), mirrorGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		say.warn(fmt.Sprintf("transfers that took longer than %s were broken off; clients resume them", mirrorGrace))
		srv.Close()
	}
	return nil
}

// mirrorToken reads the token that clients must send.
func mirrorToken(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	bad := func(err error) (string, error) {
		return "", fault.New(fault.Usage, "--token-file "+file+" has no token", err, "write one word of printable characters into it; llama.cpp sends only a token of the Hub's form, hf_ and at least 34 letters and digits")
	}
	in, err := os.Open(file)
	if err != nil {
		return bad(err)
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxTokenFile+1))
	if err != nil {
		return bad(err)
	}
	t := strings.TrimSpace(string(b))
	switch {
	case len(b) > maxTokenFile:
		return bad(fmt.Errorf("it has more than %d bytes", maxTokenFile))
	case t == "":
		return bad(errors.New("it is empty"))
	case strings.ContainsFunc(t, func(r rune) bool { return r <= 0x20 || r >= 0x7f }):
		return bad(errors.New("it has spaces, or characters that no header carries"))
	}
	return t, nil
}

// mirrorLog says what a mirror does: its address as a result, the rest beside it. For a
// program all of it is events on one stream.
type mirrorLog struct {
	out, err io.Writer
	json     bool
	mu       sync.Mutex
}

func (l *mirrorLog) event(v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	enc := json.NewEncoder(l.out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

func (l *mirrorLog) line(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.err, format+"\n", args...)
}

func (l *mirrorLog) listening(at net.Addr, repos int, dir string) {
	address := "http://" + at.String()
	if tcp, ok := at.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			address = "http://" + net.JoinHostPort(name, strconv.Itoa(tcp.Port))
		}
	}
	if l.json {
		l.event(struct {
			Event        string `json:"event"`
			URL          string `json:"url"`
			Repositories int    `json:"repositories"`
			Store        string `json:"store"`
		}{"listening", address, repos, dir})
		return
	}
	fmt.Fprintf(l.out, "serving %d model repositories of %s at %s\n", repos, dir, address)
	fmt.Fprintf(l.out, "  elsewhere  HF_ENDPOINT=%s llorch-bk model pull hf:ORG/REPO\n", address)
}

func (l *mirrorLog) warn(text string) {
	if l.json {
		l.event(map[string]string{"event": "warning", "text": text})
		return
	}
	l.line("warning: %s", text)
}

func (l *mirrorLog) request(r mirror.Request) {
	if l.json {
		l.event(struct {
			Event string `json:"event"`
			mirror.Request
		}{"request", r})
		return
	}
	asked := r.Method + " " + r.Path
	if r.Range != "" {
		asked += " " + r.Range
	}
	l.line("%s %s %q %d %d %.3fs %q", r.Time.Format("2006-01-02T15:04:05.000Z"), r.Remote, asked, r.Status, r.Bytes, r.Took, r.Agent)
}
