package docker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/docker/docker/api/types/container"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// choosePort gives the port to publish on. Whether one is free can only be
// looked up where the engine's ports are ours; between the look and the
// engine's use of it another may take it, so the caller tries again. A standby gets
// the port of the server that it replaces, which still has it.
func (d *Engine) choosePort(ctx context.Context, s engine.Spec, attempt int, standby bool) (int, error) {
	switch {
	case s.Port != 0:
		if d.endpoint.Local && !standby {
			if err := taken(ctx, s.Listen, s.Port); err != nil {
				return 0, d.portInUse(ctx, s, s.Port, err)
			}
		}
		return s.Port, nil
	case s.PreferPort != 0 && attempt == 0 && (standby || !d.endpoint.Local || taken(ctx, s.Listen, s.PreferPort) == nil):
		return s.PreferPort, nil
	case d.endpoint.Local:
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(s.Listen, "0"))
		if err != nil {
			return 0, fault.New(fault.Usage, "nothing can be published on "+s.Listen, err, "give another address with `listen`")
		}
		port := l.Addr().(*net.TCPAddr).Port
		return port, l.Close()
	}
	// Far from the well-known ports and below Linux' own choice for clients.
	return 20000 + rand.IntN(12000), nil
}

// taken is nil when port can be listened on, and when it cannot be told: a port
// below 1024 is closed to us, but perhaps not to the engine.
func taken(ctx context.Context, listen string, port int) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(listen, strconv.Itoa(port)))
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return nil
}

// PortHolder implements engine.Observer. Of an engine on another machine, only its
// own containers are known.
func (d *Engine) PortHolder(ctx context.Context, listen string, port int) (engine.Holder, error) {
	found, err := d.api.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return engine.Holder{}, d.lost(ctx, err)
	}
	for _, c := range found {
		for _, p := range c.Ports {
			if int(p.PublicPort) != port || len(c.Names) == 0 || !overlap(p.IP, listen) {
				continue
			}
			h := engine.Holder{Taken: true, Server: c.ID, Who: "the container " + strings.TrimPrefix(c.Names[0], "/")}
			if pool := c.Labels[LabelPool]; pool != "" {
				h.Who += fmt.Sprintf(" (pool %s of %s)", pool, c.Labels[LabelProject])
			}
			return h, nil
		}
	}
	if d.endpoint.Local && !isFree(ctx, listen, port) {
		return engine.Holder{Taken: true, Who: "another program"}, nil
	}
	return engine.Holder{}, nil
}

func isFree(ctx context.Context, listen string, port int) bool {
	return taken(ctx, listen, port) == nil
}

// overlap says whether one port on both addresses is one too many: they are the
// same, or one of them is all addresses.
func overlap(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX != nil || errY != nil || x == y || x.IsUnspecified() || y.IsUnspecified()
}

// portInUse names the port and, where it is a container, who has it.
func (d *Engine) portInUse(ctx context.Context, s engine.Spec, port int, err error) error {
	who := "another program"
	if h, herr := d.PortHolder(ctx, s.Listen, port); herr == nil && h.Taken {
		who = h.Who
	}
	return engine.PortInUse(s.Listen, port, fmt.Errorf("%s has it: %w", who, err))
}

// isPortClash tells an engine's refusal to publish a port from other failures;
// it has no code of its own.
func isPortClash(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "port is already allocated") || strings.Contains(text, "address already in use")
}

// checkReach refuses what could be started but never reached: an engine's
// loopback elsewhere.
func (d *Engine) checkReach(s engine.Spec) error {
	if addr, err := netip.ParseAddr(s.Listen); d.endpoint.Local || err == nil && !addr.IsLoopback() {
		return nil
	}
	return fault.New(fault.Machine, "the Docker engine is on another machine", fmt.Errorf("%s is %s", d.endpoint.Source, d.endpoint.Host),
		"name the address there to publish on with `listen`, knowing who can reach it")
}
