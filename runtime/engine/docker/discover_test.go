package docker_test

import (
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ctxdocker "github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
)

// ping answers as an engine does to its first request.
var ping = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Ostype", "linux")
	if !strings.HasSuffix(r.URL.Path, "/_ping") {
		http.NotFound(w, r)
	}
})

// onSocket serves h on a unix socket at path.
func onSocket(t *testing.T, path string, h http.Handler) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}

// home makes a short folder: a socket's path has room for some hundred bytes.
func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// addContext puts a context into docker's store below dir.
func addContext(t *testing.T, dir, name, host string, ca []byte) {
	t.Helper()
	s := store.New(filepath.Join(dir, "contexts"), store.NewConfig(func() any { return &map[string]any{} },
		store.EndpointTypeGetter(ctxdocker.DockerEndpoint, func() any { return &ctxdocker.EndpointMeta{} })))
	err := s.CreateOrUpdate(store.Metadata{
		Name: name, Metadata: map[string]any{},
		Endpoints: map[string]any{ctxdocker.DockerEndpoint: ctxdocker.EndpointMeta{Host: host}},
	})
	if err == nil && ca != nil {
		err = s.ResetEndpointTLSMaterial(name, ctxdocker.DockerEndpoint, &store.EndpointTLSData{Files: map[string][]byte{"ca.pem": ca}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	h := home(t)
	given, named := filepath.Join(h, "given.sock"), filepath.Join(h, "named.sock")
	onSocket(t, given, ping)
	onSocket(t, named, ping)
	dir := filepath.Join(h, ".docker")
	addContext(t, dir, "colima", "unix://"+named, nil)
	tcp := httptest.NewServer(ping)
	t.Cleanup(tcp.Close)
	secure := httptest.NewTLSServer(ping)
	t.Cleanup(secure.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	secureHost := strings.Replace(secure.URL, "https", "tcp", 1)
	addContext(t, dir, "tls", secureHost, ca)
	certs := filepath.Join(h, "certs")
	if err := os.MkdirAll(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(certs, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	current := filepath.Join(h, "current")
	addContext(t, current, "vm", "unix://"+named, nil)
	config, err := json.Marshal(map[string]any{"currentContext": "vm", "HttpHeaders": map[string]string{"X-A": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(current, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name string
		o    docker.Options
		want engine.Endpoint
	}{
		{
			"what the user gave beats all",
			docker.Options{Host: "unix://" + given, Getenv: env("DOCKER_HOST", "unix:///nowhere")},
			engine.Endpoint{Host: "unix://" + given, Source: "given", Local: true},
		},
		{
			"DOCKER_HOST beats contexts",
			docker.Options{ConfigDir: current, Getenv: env("DOCKER_HOST", "unix://"+given, "DOCKER_CONTEXT", "nowhere")},
			engine.Endpoint{Host: "unix://" + given, Source: "DOCKER_HOST", Local: true},
		},
		{
			"DOCKER_CONTEXT",
			docker.Options{Getenv: env("HOME", h, "DOCKER_CONTEXT", "colima")},
			engine.Endpoint{Host: "unix://" + named, Source: "the context colima", Local: true},
		},
		{
			"the current context",
			docker.Options{Getenv: env("HOME", h, "DOCKER_CONFIG", current)},
			engine.Endpoint{Host: "unix://" + named, Source: "the context vm", Local: true},
		},
		{
			"TCP on the loopback",
			docker.Options{Getenv: env("DOCKER_HOST", strings.Replace(tcp.URL, "http", "tcp", 1))},
			engine.Endpoint{Host: strings.Replace(tcp.URL, "http", "tcp", 1), Source: "DOCKER_HOST", Local: true},
		},
		{
			"TLS of a context",
			docker.Options{Getenv: env("HOME", h, "DOCKER_CONTEXT", "tls")},
			engine.Endpoint{Host: secureHost, Source: "the context tls", Local: true},
		},
		{
			"TLS of the environment",
			docker.Options{Getenv: env("DOCKER_HOST", secureHost, "DOCKER_TLS_VERIFY", "1", "DOCKER_CERT_PATH", certs)},
			engine.Endpoint{Host: secureHost, Source: "DOCKER_HOST", Local: true},
		},
		{
			"TLS unverified",
			docker.Options{Getenv: env("DOCKER_HOST", secureHost, "DOCKER_TLS", "1", "HOME", h)},
			engine.Endpoint{Host: secureHost, Source: "DOCKER_HOST", Local: true},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			api, got, err := docker.Discover(t.Context(), c.o)
			if err != nil {
				t.Fatal(err)
			}
			defer api.Close()
			if got != c.want {
				t.Errorf("found %+v, want %+v", got, c.want)
			}
			if v := api.ClientVersion(); v != "1.41" {
				t.Errorf("speaks version %s, want the engine's 1.41", v)
			}
		})
	}
}

func TestDiscoverFails(t *testing.T) {
	t.Parallel()
	h := home(t)
	broken := filepath.Join(h, "broken")
	if err := os.MkdirAll(broken, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		o     docker.Options
		class fault.Class
		text  string
	}{
		{"no socket where it should be", docker.Options{Host: "unix://" + h + "/none.sock"}, fault.Machine, "none.sock"},
		{"nobody listens", docker.Options{Host: "tcp://127.0.0.1:1"}, fault.Machine, "127.0.0.1:1"},
		{"no address", docker.Options{Host: "somewhere"}, fault.Usage, "somewhere"},
		{"no such context", docker.Options{Getenv: env("HOME", h, "DOCKER_CONTEXT", "vm")}, fault.Machine, "context vm"},
		{"configuration that cannot be read", docker.Options{ConfigDir: broken}, fault.Machine, "configuration"},
	} {
		_, _, err := docker.Discover(t.Context(), c.o)
		if fault.ClassOf(err) != c.class || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: class %v, %v", c.name, fault.ClassOf(err), err)
		}
	}
}
