package docker

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

func TestNoEngineSaysWhatWasTried(t *testing.T) {
	t.Parallel()
	o := Options{Getenv: func(n string) string {
		return map[string]string{"HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/7"}[n]
	}}
	found, named, err := candidates(o)
	if err != nil || named {
		t.Fatal(named, err)
	}
	var tried []string
	for _, c := range found {
		tried = append(tried, c.Host)
	}
	if tried[0] != "unix:///var/run/docker.sock" || tried[1] != "unix:///run/user/7/docker.sock" {
		t.Errorf("order: %v", tried)
	}
	r := fault.Report(absent(named, tried, nil))
	for _, want := range []string{"/var/run/docker.sock", "/run/user/7/docker.sock", "/h/.colima/default/docker.sock", "llorch-bk setup"} {
		if !strings.Contains(r, want) {
			t.Errorf("%q is not in:\n%s", want, r)
		}
	}
	r = fault.Report(forbidden(found[0].Endpoint, fs.ErrPermission))
	if !strings.Contains(r, "usermod -aG docker") {
		t.Errorf("permission denied:\n%s", r)
	}
}

func TestIsLocal(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"unix:///var/run/docker.sock": true,
		"tcp://127.0.0.1:2375":        true,
		"tcp://127.8.0.1:2375":        true,
		"tcp://[::1]:2375":            true,
		"tcp://localhost:2375":        true,
		"tcp://10.0.0.1:2375":         false,
		"tcp://127.evil.example:2375": false,
		"ssh://u@localhost":           false,
		"":                            false,
	} {
		if got := isLocal(host); got != want {
			t.Errorf("isLocal(%q) = %v", host, got)
		}
	}
}

func TestURLFor(t *testing.T) {
	t.Parallel()
	local, remote := engine.Endpoint{Local: true}, engine.Endpoint{Host: "ssh://u@box:22"}
	for _, c := range []struct {
		e            engine.Endpoint
		listen, want string
	}{
		{local, "127.0.0.1", "http://127.0.0.1:7"},
		{local, "::1", "http://[::1]:7"},
		{local, "0.0.0.0", "http://127.0.0.1:7"},
		{local, "::", "http://[::1]:7"},
		{local, "10.0.0.9", "http://10.0.0.9:7"},
		{remote, "0.0.0.0", "http://box:7"},
		{remote, "10.0.0.9", "http://10.0.0.9:7"},
	} {
		if got := urlFor(c.e, c.listen, 7); got != c.want {
			t.Errorf("%+v, %s: %s, want %s", c.e, c.listen, got, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err   string
		class fault.Class
		text  string
	}{
		{`could not select device driver "" with capabilities: [[gpu]]`, fault.Engine, "container toolkit"},
		{`CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all`, fault.Engine, "container toolkit"},
		{`nvidia-container-cli: initialization error`, fault.Engine, "container toolkit"},
		{`exec: "docker-init": executable file not found in $PATH`, fault.Machine, "tini"},
		{`exec /app/llama-server: exec format error`, fault.Engine, "another CPU architecture"},
		{`something new`, fault.Engine, "something new"},
	} {
		err := explain(engine.Spec{ImageRef: "x"}, errors.New(c.err))
		if fault.ClassOf(err) != c.class || !strings.Contains(fault.Report(err), c.text) {
			t.Errorf("%s:\n%s", c.err, fault.Report(err))
		}
	}
	known := fault.New(fault.Usage, "x", nil, "")
	if err := explain(engine.Spec{}, fmt.Errorf("y: %w", known)); fault.ClassOf(err) != fault.Usage {
		t.Errorf("a fault was explained again: %v", err)
	}
}

func TestPortClash(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"driver failed programming external connectivity on endpoint x: Bind for 127.0.0.1:80 failed: port is already allocated":                                                  true,
		"driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 127.0.0.1:80: bind: address already in use":                    true,
		"failed to set up container networking: driver failed programming external connectivity on endpoint x: failed to bind host port 127.0.0.1:80/tcp: address already in use": true,
		"no space left on device": false,
	} {
		if got := isPortClash(errors.New(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
