package buildkit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/llb"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

func TestFinishedSteps(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	after := func(s float64) *time.Time {
		at := began.Add(time.Duration(s * float64(time.Second)))
		return &at
	}
	vertex := func(name string, seconds float64, cached bool) *client.Vertex {
		return &client.Vertex{Digest: digest.FromString(name), Name: name, Started: &began, Completed: after(seconds), Cached: cached}
	}
	tl := newTail(nil)
	compiles := func(part string) llb.Step { return llb.Step{Kind: llb.StepCompile, Part: part} }
	tl.what[digest.FromString("[compile] ggml-cpu for portable")] = compiles("ggml-cpu")
	tl.what[digest.FromString("[compile] llama-server de3ff81")] = compiles("llama-server")
	tl.what[digest.FromString("[compile] ggml")] = compiles("ggml")
	tl.update(&client.SolveStatus{Vertexes: []*client.Vertex{
		{Digest: digest.FromString("[compile] llama-server de3ff81"), Name: "[compile] llama-server de3ff81", Started: &began},
		vertex("[compile] ggml", 0.5, true),
		vertex("load metadata", 9, false),
	}})
	server := digest.FromString("[compile] llama-server de3ff81")
	// A line can come in two pieces.
	tl.update(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: server, Data: []byte("llorch-bk: 12 compiles, 9 from the compi")}}})
	tl.update(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: server, Data: []byte("ler cache, 8 of these from the registry\n")}}})
	tl.update(&client.SolveStatus{Vertexes: []*client.Vertex{
		vertex("[compile] llama-server de3ff81", 22.129, false),
		vertex("[compile] ggml-cpu for portable", 140, false),
		// Fetched from the cache that it was found in.
		vertex("[compile] ggml", 0.5, false),
	}})
	want := []Step{
		{Step: compiles("ggml-cpu"), Name: "[compile] ggml-cpu for portable", Seconds: 140},
		{Step: compiles("llama-server"), Name: "[compile] llama-server de3ff81", Seconds: 22.13, Objects: &Objects{Compiles: 12, Cached: 9, Carried: 8}},
		{Step: compiles("ggml"), Name: "[compile] ggml", Cached: true},
	}
	got := tl.finished()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if part, ok := got[0].Compiles(); part != "ggml-cpu" || !ok {
		t.Errorf("the part is %q, %v", part, ok)
	}
	if _, ok := (Step{Name: "[image] ggml"}).Compiles(); ok {
		t.Error("a copy compiles")
	}
}
