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

// choosePort chooses the port to publish. Whether a port is free can only be checked on this
// machine, and another program may take it before the engine does: the caller then retries.
// A standby gets the port of the server that it replaces, which still uses it.
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
			return 0, fault.New(fault.Usage, "cannot publish a port on "+s.Listen, err, "name an address of this machine with `listen`")
		}
		port := l.Addr().(*net.TCPAddr).Port
		return port, l.Close()
	}
	// Between the well-known ports and Linux's range for outgoing connections.
	return 20000 + rand.IntN(12000), nil
}

// taken returns an error only if another program uses the port. Other failures do not count:
// this user may not use ports below 1024, but the engine may.
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

// PortHolder implements engine.Observer. On another machine it only knows the engine's own
// containers.
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

// overlap reports whether one port cannot be published on both addresses: they are equal, or
// one of them stands for all addresses.
func overlap(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX != nil || errY != nil || x == y || x.IsUnspecified() || y.IsUnspecified()
}

// portInUse names the port and its holder.
func (d *Engine) portInUse(ctx context.Context, s engine.Spec, port int, err error) error {
	who := "another program"
	if h, herr := d.PortHolder(ctx, s.Listen, port); herr == nil && h.Taken {
		who = h.Who
	}
	return engine.PortInUse(s.Listen, port, fmt.Errorf("%s uses it: %w", who, err))
}

// isPortClash reports whether an engine refused to publish a port. Engines have no code for
// that, only this text.
func isPortClash(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "port is already allocated") || strings.Contains(text, "address already in use")
}

// checkReach refuses a server that could be started but not reached: one on the loopback
// address of another machine.
func (d *Engine) checkReach(s engine.Spec) error {
	if addr, err := netip.ParseAddr(s.Listen); d.endpoint.Local || err == nil && !addr.IsLoopback() {
		return nil
	}
	return fault.New(fault.Machine, "the Docker engine is on another machine", fmt.Errorf("%s is %s", d.endpoint.Source, d.endpoint.Host),
		"name an address of that machine with `listen`; everyone who can reach that address can then use the server")
}
