package buildkit

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// noEngine is an engine that is gone.
type noEngine struct{}

func (noEngine) DialHijack(context.Context, string, string, map[string][]string) (net.Conn, error) {
	return nil, errors.New("cannot connect to the Docker daemon")
}

func TestDial(t *testing.T) {
	t.Parallel()
	d := serve(t, &daemon{})
	if b := d.dial(t); b.Embedded || b.Address != "unix://"+d.socket || b.String() != "BuildKit at unix://"+d.socket {
		t.Errorf("got %+v", b)
	}
	if b := d.embed(t); !b.Embedded || b.Address != Auto || b.String() != "the Docker engine's BuildKit" {
		t.Errorf("got %+v", b)
	}
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "nobody")
	for name, c := range map[string]struct {
		addr   string
		engine Engine
		tls    TLS
		class  fault.Class
		says   string
	}{
		"nothing listens":         {"unix://" + missing, nil, TLS{}, fault.Machine, "does not answer"},
		"nothing listens tcp":     {"tcp://127.0.0.1:1", nil, TLS{}, fault.Machine, "does not answer"},
		"no engine":               {Auto, nil, TLS{}, fault.Machine, "there is no builder"},
		"no engine, no name":      {"", nil, TLS{}, fault.Machine, "there is no builder"},
		"an engine that died":     {Auto, noEngine{}, TLS{}, fault.Machine, "the Docker engine's BuildKit does not answer"},
		"no scheme":               {"/run/buildkit/buildkitd.sock", nil, TLS{}, fault.Usage, "is no address of a builder"},
		"no URL":                  {"unix://%zz", nil, TLS{}, fault.Usage, "is no address of a builder"},
		"another scheme":          {"http://localhost", nil, TLS{}, fault.Usage, "cannot be reached by http://"},
		"a CA that is not there":  {"tcp://127.0.0.1:1", nil, TLS{CACert: missing}, fault.Usage, "cannot be used"},
		"a key that is not there": {"tcp://127.0.0.1:1", nil, TLS{Cert: missing, Key: missing}, fault.Usage, "cannot be used"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := Dial(t.Context(), c.addr, c.engine, c.tls)
			if fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.says) {
				t.Errorf("class %d: %v\nwant class %d with %q", fault.ClassOf(err), err, c.class, c.says)
			}
			if took := time.Since(start); took > dialTimeout/2 {
				t.Errorf("it took %s to find out", took)
			}
		})
	}
}

func TestDialCancelled(t *testing.T) {
	t.Parallel()
	cause := fault.New(fault.Interrupted, "interrupted", nil, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := Dial(ctx, "unix://"+serve(t, &daemon{}).socket, nil, TLS{}); fault.ClassOf(err) != fault.Interrupted {
		t.Errorf("class %d: %v", fault.ClassOf(err), err)
	}
}
