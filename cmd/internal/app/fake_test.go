package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/engine/docker"
	"github.com/llorch/llorch-bk/runtime/replica"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// fakeEngine is as much of a Docker engine as the use cases ask when there is
// nothing to build or to start: images, containers, and the end of containers.
type fakeEngine struct {
	// env is the environment in which it is found.
	env map[string]string
	// memory is how much its machine has, in bytes.
	memory int64
	// platform is what its images are for, as linux/amd64; empty where it does not say.
	platform string

	mu         sync.Mutex
	images     []image.InspectResponse
	containers []container.InspectResponse
	// broken answers every look at an image with 500.
	broken bool
	// log is what every container has logged.
	log string
	// changed are the requests that change something, in their order.
	changed []string
}

// fakeID is the fake engine's own id.
const fakeID = "FAKE:ENGINE"

// startEngine starts an engine without images and containers.
func startEngine(t *testing.T) *fakeEngine {
	t.Helper()
	f := &fakeEngine{}
	server := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(server.Close)
	f.env = map[string]string{"DOCKER_HOST": "tcp://" + server.Listener.Addr().String(), "HOME": t.TempDir()}
	return f
}

// app is the program with this engine. What it prints goes to the test's log.
func (f *fakeEngine) app(t *testing.T) *App {
	return &App{Out: t.Output(), Err: t.Output(), Getenv: func(name string) string { return f.env[name] }, Progress: "plain"}
}

// connect is the engine as the use cases have it.
func (f *fakeEngine) connect(t *testing.T) *dockerEngine {
	t.Helper()
	eng, err := f.app(t).engine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { eng.Close() })
	return eng
}

// addImage adds an image that got its name at a time.
func (f *fakeEngine) addImage(id, tag string, tagged time.Time, labels map[string]string) {
	var i image.InspectResponse
	i.ID, i.RepoTags, i.Metadata.LastTagTime = id, []string{tag}, tagged
	i.Config = &dockerspec.DockerOCIImageConfig{}
	i.Config.Labels = labels
	i.Os, i.Architecture, _ = strings.Cut(f.platform, "/")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images = append(f.images, i)
}

// addServer adds a container of ours. A change says what is special about it.
func (f *fakeEngine) addServer(id, project, pool, name, url, path string, change ...func(*container.InspectResponse)) {
	c := container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{
			ID: id, Name: "/" + replica.ID{Project: project, Pool: pool, Replica: name}.Name(), Image: "sha256:1111",
			State: &container.State{Status: "running", Running: true, StartedAt: time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano)},
		},
		Config: &container.Config{Labels: map[string]string{
			docker.LabelProject: project, docker.LabelPool: pool, docker.LabelReplica: name,
			docker.LabelURL: url, docker.LabelHandoff: path, docker.LabelImageRef: "llorch-bk:test",
			docker.LabelModelHost: "/models/m.gguf", docker.LabelRunDigest: "sha256:2222",
			engine.LabelModel: "file:m.gguf", engine.LabelFlags: `["--metrics"]`,
		}},
	}
	for _, ch := range change {
		ch(&c)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.containers = append(f.containers, c)
}

// done are the requests so far that changed something.
func (f *fakeEngine) done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.changed)
}

var apiVersion = regexp.MustCompile(`^/v1\.\d+`)

func (f *fakeEngine) serve(w http.ResponseWriter, r *http.Request) {
	path := apiVersion.ReplaceAllString(r.URL.Path, "")
	noun, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	name, verb := rest, ""
	if i := strings.LastIndex(rest, "/"); i >= 0 {
		name, verb = rest[:i], rest[i+1:]
	}
	if verb == "wait" { // for an end that does not come
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		f.changed = append(f.changed, strings.TrimSuffix(r.Method+" "+path, "/"))
	}
	findImage := func(i image.InspectResponse) bool { return i.ID == name || slices.Contains(i.RepoTags, name) }
	findContainer := func(c container.InspectResponse) bool { return c.ID == name || c.Name == "/"+name }
	switch {
	case noun == "_ping":
		w.Header().Set("Api-Version", "1.41")
	case noun == "info":
		reply(w, map[string]any{"MemTotal": f.memory, "ID": fakeID})
	case noun == "version":
		reply(w, map[string]string{"Arch": "amd64", "ApiVersion": "1.41"})
	case noun == "images" && f.broken:
		http.Error(w, `{"message":"boom from engine"}`, http.StatusInternalServerError)
	case noun == "images" && rest == "json":
		out := []image.Summary{}
		for _, i := range f.images {
			if asked(r).MatchKVList("label", i.Config.Labels) {
				out = append(out, image.Summary{ID: i.ID})
			}
		}
		reply(w, out)
	case noun == "images" && verb == "json" && slices.ContainsFunc(f.images, findImage):
		reply(w, f.images[slices.IndexFunc(f.images, findImage)])
	case noun == "containers" && rest == "json":
		out := []container.Summary{}
		for _, c := range f.containers {
			if asked(r).MatchKVList("label", c.Config.Labels) {
				out = append(out, container.Summary{ID: c.ID})
			}
		}
		reply(w, out)
	case noun == "containers" && !slices.ContainsFunc(f.containers, findContainer) && !slices.ContainsFunc(f.containers, func(c container.InspectResponse) bool { return c.ID == rest }):
		http.Error(w, `{"message":"no such container"}`, http.StatusNotFound)
	case noun == "containers" && verb == "json":
		reply(w, f.containers[slices.IndexFunc(f.containers, findContainer)])
	case noun == "containers" && verb == "logs":
		_, _ = stdcopy.NewStdWriter(w, stdcopy.Stderr).Write([]byte(f.log))
	case noun == "containers" && verb == "stop":
		w.WriteHeader(http.StatusNoContent)
	case noun == "containers" && r.Method == http.MethodDelete:
		f.containers = slices.DeleteFunc(f.containers, func(c container.InspectResponse) bool { return c.ID == rest })
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, `{"message":"there is no `+path+` here"}`, http.StatusNotFound)
	}
}

// asked are the filters of a request.
func asked(r *http.Request) filters.Args {
	args, err := filters.FromJSON(r.URL.Query().Get("filters"))
	if err != nil {
		return filters.NewArgs(filters.Arg("label", "nothing has this label"))
	}
	return args
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// llama is a server as health and props see it. A nil healthy answers 200.
func llama(t *testing.T, healthy http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	if healthy == nil {
		healthy = func(w http.ResponseWriter, _ *http.Request) { reply(w, map[string]string{"status": "ok"}) }
	}
	mux.HandleFunc("/health", healthy)
	mux.HandleFunc("/props", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"build_info": "b4242-abcdef0", "total_slots": 3})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}
