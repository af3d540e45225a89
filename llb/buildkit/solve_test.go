package buildkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"
	dockerclient "github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/source"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// loader is an engine that takes images.
type loader func(ctx context.Context, r io.Reader) (string, error)

func (l loader) ImageLoad(ctx context.Context, r io.Reader, _ ...dockerclient.ImageLoadOption) (image.LoadResponse, error) {
	body, err := l(ctx, r)
	return image.LoadResponse{Body: io.NopCloser(strings.NewReader(body)), JSON: true}, err
}

func TestBuildExports(t *testing.T) {
	t.Parallel()
	const names = "docker.io/library/a:latest,docker.io/library/b:latest"
	archive := bytes.Repeat([]byte("archive "), 1<<16)
	send := func(ctx context.Context, c session.Caller) (map[string]string, error) {
		w, err := filesync.CopyFileWriter(ctx, nil, 0, c)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(archive); err != nil {
			return nil, err
		}
		return map[string]string{exptypes.ExporterImageDigestKey: sha("1"), exptypes.ExporterImageConfigDigestKey: sha("2")}, w.Close()
	}
	say := func(context.Context, session.Caller) (map[string]string, error) {
		return map[string]string{exptypes.ExporterImageDigestKey: sha("1"), exptypes.ExporterImageConfigDigestKey: sha("2")}, nil
	}
	for name, c := range map[string]struct {
		embedded, engine bool
		export           func(context.Context, session.Caller) (map[string]string, error)
		exporter         string
		attrs            map[string]string
	}{
		"into the engine that the builder is part of": {true, true, say, "moby", map[string]string{"name": names}},
		"through a pipe into another engine":          {false, true, send, "docker", map[string]string{"name": names}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := serve(t, &daemon{export: c.export})
			b := d.dial
			if c.embedded {
				b = d.embed
			}
			j := job(t)
			var loaded []byte
			if c.engine {
				j.Engine = loader(func(_ context.Context, r io.Reader) (string, error) {
					var err error
					loaded, err = io.ReadAll(r)
					return `{"stream":"Loaded image: a:latest\n"}`, err
				})
			}
			got, err := b(t).Build(t.Context(), j)
			if err != nil {
				t.Fatal(fault.Report(err))
			}
			if diff := cmp.Diff(Result{Digest: sha("1"), ConfigDigest: sha("2"), Layers: []string{"runtime", "health probe", "licences", "llama-server"}}, got); diff != "" {
				t.Error(diff)
			}
			req, ret, _ := d.recorded()
			if len(req.Exporters) != 1 || req.Exporters[0].Type != c.exporter || !cmp.Equal(req.Exporters[0].Attrs, c.attrs) {
				t.Errorf("exporters %v, want %s %v", req.Exporters, c.exporter, c.attrs)
			}
			// An old engine reads nothing else.
			if req.ExporterDeprecated != c.exporter {
				t.Errorf("exporter %q for old builders", req.ExporterDeprecated)
			}
			var config struct {
				Config struct{ User string }
			}
			if err := json.Unmarshal(ret.Result.Metadata[exptypes.ExporterImageConfigKey], &config); err != nil || config.Config.User != images.User {
				t.Errorf("the config that came with the result: %v, %+v", err, config)
			}
			if want := c.exporter == "docker"; bytes.Equal(loaded, archive) != want {
				t.Errorf("the engine was given %d bytes", len(loaded))
			}
		})
	}
}

func TestBuildGivesTheJobsAsASecret(t *testing.T) {
	t.Parallel()
	var got []byte
	d := serve(t, &daemon{export: func(ctx context.Context, c session.Caller) (map[string]string, error) {
		r, err := secrets.NewSecretsClient(c.Conn()).GetSecret(ctx, &secrets.GetSecretRequest{ID: llb.JobsSecret})
		got = r.GetData()
		return nil, err
	}})
	j := job(t)
	j.Jobs = 3
	if _, err := d.embed(t).Build(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if string(got) != "3" {
		t.Errorf("got %q", got)
	}
}

func TestBuildNeedsSomewhereToPutTheImage(t *testing.T) {
	t.Parallel()
	if _, err := serve(t, &daemon{}).dial(t).Build(t.Context(), job(t)); fault.ClassOf(err) != fault.Machine || !strings.Contains(err.Error(), "no engine to load the image into") {
		t.Errorf("class %d: %v", fault.ClassOf(err), err)
	}
}

// Whichever side of the pipe fails ends the other, and its error is the one shown.
func TestBuildLoadFails(t *testing.T) {
	t.Parallel()
	endless := func(ctx context.Context, c session.Caller) (map[string]string, error) {
		w, err := filesync.CopyFileWriter(ctx, nil, 0, c)
		for err == nil {
			_, err = w.Write(make([]byte, 1<<15))
		}
		return nil, err
	}
	for name, c := range map[string]struct {
		export func(context.Context, session.Caller) (map[string]string, error)
		load   loader
		says   string
	}{
		"the engine refuses": {
			endless,
			func(context.Context, io.Reader) (string, error) { return "", errors.New("no room for an image") },
			"no room for an image",
		},
		"the engine refuses in the middle": {
			endless,
			func(_ context.Context, r io.Reader) (string, error) {
				_, err := io.CopyN(io.Discard, r, 1<<16)
				return "", errors.Join(errors.New("no room for an image"), err)
			},
			"no room for an image",
		},
		"the engine says so in its answer": {
			endless,
			func(_ context.Context, r io.Reader) (string, error) {
				_, err := io.CopyN(io.Discard, r, 1<<16)
				return `{"errorDetail":{"message":"no room for an image"},"error":"no room for an image"}`, err
			},
			"the engine did not load the image: no room for an image",
		},
		"the builder cannot export": {
			func(context.Context, session.Caller) (map[string]string, error) {
				return nil, status.Error(codes.Unknown, "the export broke")
			},
			func(_ context.Context, r io.Reader) (string, error) {
				_, err := io.Copy(io.Discard, r)
				return "", err
			},
			"the export broke",
		},
		"the builder breaks off in the middle": {
			func(ctx context.Context, c session.Caller) (map[string]string, error) {
				w, err := filesync.CopyFileWriter(ctx, nil, 0, c)
				if err == nil {
					_, err = w.Write(make([]byte, 1<<15))
				}
				return nil, errors.Join(status.Error(codes.Unknown, "the export broke"), err)
			},
			func(_ context.Context, r io.Reader) (string, error) {
				_, err := io.Copy(io.Discard, r)
				return "", err
			},
			"the export broke",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := job(t)
			j.Engine = c.load
			_, err := serve(t, &daemon{export: c.export}).dial(t).Build(t.Context(), j)
			if fault.ClassOf(err) != fault.Build || !strings.Contains(err.Error(), c.says) {
				t.Errorf("class %d: %v\nwant a failed build with %q", fault.ClassOf(err), err, c.says)
			}
		})
	}
}

// stepOf is the vertex of a kind in the graph of job's plan.
func stepOf(t *testing.T, kind llb.StepKind) string {
	t.Helper()
	j := job(t)
	g, err := llb.Build(j.Plan, j.Capabilities, llb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	def, err := g.Image.Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id, step := range llb.Steps(def) {
		if step.Kind == kind {
			return id.String()
		}
	}
	t.Fatalf("the graph has no %s", kind)
	return ""
}

// vertexes puts one vertex in the place of another.
func vertexes(in []*controlapi.StatusResponse, from, to string) []*controlapi.StatusResponse {
	for _, r := range in {
		for _, v := range r.Vertexes {
			v.Digest = strings.ReplaceAll(v.Digest, from, to)
		}
		for _, l := range r.Logs {
			l.Vertex = strings.ReplaceAll(l.Vertex, from, to)
		}
	}
	return in
}

// A step that misses something says so in a way that can be told from a mistake in the
// source; only a build in parts can be helped.
func TestBuildInParts(t *testing.T) {
	t.Parallel()
	vertex := stepOf(t, llb.StepCompile)
	for line, want := range map[string]string{
		"main.c:1:10: fatal error: page.inc: No such file or directory":                   "page.inc",
		"ld: server.c:(.text+0x5): undefined reference to `bh_one'":                       "bh_one",
		"ninja: error: '/src/a.c', needed by 'a.o', missing and no known rule to make it": "/src/a.c",
		"llorch-bk: llama-server needs libbh-extra.so, and the image does not have it":    "libbh-extra.so",
		"main.c:1:10: error: expected ';' after expression":                               "",
		"main.c:1:10: error: use of undeclared identifier 'x'":                            "",
	} {
		d := serve(t, &daemon{progress: []*controlapi.StatusResponse{
			{Vertexes: []*controlapi.Vertex{{Digest: vertex, Name: "[compile] x"}}},
			{Logs: []*controlapi.VertexLog{{Vertex: vertex, Msg: []byte(line + "\n")}}},
			{Vertexes: []*controlapi.Vertex{{Digest: vertex, Name: "[compile] x", Error: "exit code: 1"}}},
		}})
		d.solve = func(ctx context.Context) error {
			select {
			case <-d.told:
			case <-ctx.Done():
			}
			return status.Error(codes.Unknown, "exit code: 1")
		}
		_, err := d.embed(t).Build(t.Context(), job(t))
		var lacks *Incomplete
		if errors.As(err, &lacks) != (want != "") || want != "" && !strings.Contains(lacks.Line, want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// An old engine's BuildKit loses a message now and then: the build is asked for once
// more, there and for that alone.
func TestLostMessage(t *testing.T) {
	t.Parallel()
	lost := status.Error(codes.Internal, "unexpected EOF")
	old, newer := llb.Capabilities{}, llb.Capabilities{OCILayout: true}
	for name, c := range map[string]struct {
		builder Builder
		caps    llb.Capabilities
		err     error
		want    bool
	}{
		"an old engine":      {Builder{Embedded: true}, old, fmt.Errorf("failed to solve: %w", lost), true},
		"another failure":    {Builder{Embedded: true}, old, status.Error(codes.Unknown, "exit code: 1"), false},
		"an engine of today": {Builder{Embedded: true}, newer, lost, false},
		"another builder":    {Builder{}, old, lost, false},
	} {
		if got := c.builder.lostMessage(c.caps, c.err); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestBuildExplains(t *testing.T) {
	t.Parallel()
	const step = "[compile] llama-server de3ff81 for portable"
	vertex := stepOf(t, llb.StepCompile)
	progress := func(name string, log ...string) []*controlapi.StatusResponse {
		out := []*controlapi.StatusResponse{{Vertexes: []*controlapi.Vertex{
			{Digest: digest.FromString("other").String(), Name: "[probe] compile the health probe", Error: "context canceled"},
			{Digest: vertex, Name: name},
		}}}
		for _, l := range log {
			out = append(out, &controlapi.StatusResponse{Logs: []*controlapi.VertexLog{{Vertex: vertex, Msg: []byte(l)}}})
		}
		return append(out, &controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{{Digest: vertex, Name: name, Error: "exit code: 1"}}})
	}
	packages := vertexes(progress("[toolchain] install gcc", "E: Unable to locate package gcc\n"), vertex, stepOf(t, llb.StepToolchain))
	many := make([]string, 100)
	for i := range many {
		many[i] = strings.Repeat("x", i+1) + "\n"
	}
	for name, c := range map[string]struct {
		progress []*controlapi.StatusResponse
		err      error
		says     string
		lines    []string
		do       string
	}{
		"a step": {
			progress(step, "one\ntw", "o\nthree"), status.Error(codes.Unknown, "process \"sh\" did not complete successfully: exit code: 1"),
			"the build failed: step " + step + ": exit code: 1",
			[]string{"one", "two", "three"},
			"--progress plain",
		},
		"only the end of a long log": {
			progress(step, many...), status.Error(codes.Unknown, "exit code: 1"), step, strings.Split(strings.TrimSpace(strings.Join(many[80:], "")), "\n"), "--progress plain",
		},
		"the packages": {
			packages, status.Error(codes.Unknown, "exit code: 100"),
			"step [toolchain] install gcc",
			[]string{"E: Unable to locate package gcc"},
			"network and proxy",
		},
		"no step": {nil, status.Error(codes.Unknown, "odd"), "the build failed: odd", nil, ""},
		"a compiler that the kernel killed": {
			progress(step, "g++: fatal error: Killed signal terminated program cc1plus\n"), status.Error(codes.Unknown, "exit code: 1"),
			"a compiler was killed",
			[]string{"g++: fatal error: Killed signal terminated program cc1plus"},
			"--jobs 1",
		},
		"a clang that the kernel killed": {
			progress(step, "llorch-bk: clang++ ended while it compiled src/x.cpp: signal 9 (KILL); the source is not at fault, so no other compiler is asked\n"), status.Error(codes.Unknown, "exit code: 137"),
			"a compiler was killed",
			[]string{"llorch-bk: clang++ ended while it compiled src/x.cpp: signal 9 (KILL); the source is not at fault, so no other compiler is asked"},
			"--jobs 1",
		},
		"a compiler that gets no memory": {
			progress(step, "virtual memory exhausted: Cannot allocate memory\n"), status.Error(codes.Unknown, "exit code: 1"),
			"a compiler could not allocate memory",
			[]string{"virtual memory exhausted: Cannot allocate memory"},
			"--jobs 1",
		},
		"a disk that is full for a compiler": {
			progress(step, "fatal error: error in backend: IO failure on output stream: No space left on device\n"), status.Error(codes.Unknown, "exit code: 1"),
			"step " + step + ": the builder's disk is full",
			[]string{"fatal error: error in backend: IO failure on output stream: No space left on device"},
			"docker builder prune",
		},
		"a full disk": {
			progress(step), status.Error(codes.Unknown, "write /x: no space left on device"), "the builder's disk is full", nil, "docker builder prune",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := serve(t, &daemon{progress: c.progress})
			d.solve = func(ctx context.Context) error {
				select {
				case <-d.told:
				case <-ctx.Done():
				}
				return c.err
			}
			var seen int
			j := job(t)
			j.Status = func(*client.SolveStatus) { seen++ }
			_, err := d.embed(t).Build(t.Context(), j)
			if fault.ClassOf(err) != fault.Build || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("class %d: %v\nwant a failed build with %q", fault.ClassOf(err), err, c.says)
			}
			var f *fault.Fault
			errors.As(err, &f)
			if diff := cmp.Diff(c.lines, f.Lines); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(f.Do, c.do) {
				t.Errorf("advice %q", f.Do)
			}
			if seen < len(c.progress) {
				t.Errorf("%d of %d reports were passed on", seen, len(c.progress))
			}
		})
	}
}

func TestBuildWhoseBuilderDies(t *testing.T) {
	t.Parallel()
	d := serve(t, &daemon{})
	d.solve = func(ctx context.Context) error {
		go d.server.Stop()
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := d.dial(t).Build(t.Context(), withEngine(job(t)))
	if fault.ClassOf(err) != fault.Build || !strings.Contains(err.Error(), "the connection to BuildKit at unix://"+d.socket+" broke during the build") {
		t.Errorf("class %d: %v", fault.ClassOf(err), err)
	}
	if report := fault.Report(err); !strings.Contains(report, "start it again") {
		t.Error(report)
	}
}

func withEngine(j Job) Job {
	j.Engine = loader(func(_ context.Context, r io.Reader) (string, error) {
		_, err := io.Copy(io.Discard, r)
		return "", err
	})
	return j
}

func TestBuildCancelled(t *testing.T) {
	t.Parallel()
	for name, embedded := range map[string]bool{"in the engine": true, "through a pipe": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cause := fault.New(fault.Interrupted, "interrupted", nil, "")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			d := serve(t, &daemon{solve: func(ctx context.Context) error {
				cancel(cause)
				<-ctx.Done()
				return ctx.Err()
			}})
			b := d.dial
			if embedded {
				b = d.embed
			}
			if _, err := b(t).Build(ctx, withEngine(job(t))); !errors.Is(err, cause) {
				t.Errorf("got %v, want the cause", err)
			}
		})
	}
}

// A tree of this machine is sent whole, but for git's own folder.
func TestBuildSendsTheTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var supported bool
	d := serve(t, &daemon{export: func(_ context.Context, c session.Caller) (map[string]string, error) {
		supported = c.Supports(session.MethodURL(filesync.FileSync_ServiceDesc.ServiceName, "diffcopy"))
		return nil, nil
	}})
	j := job(t)
	content, err := source.Read(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	j.Source = &content
	if _, err := d.embed(t).Build(t.Context(), j); err != nil || !supported {
		t.Errorf("%v; the session offers files: %v", err, supported)
	}
}
