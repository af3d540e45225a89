package engine_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

func TestServerFlags(t *testing.T) {
	t.Parallel()
	const defaults = " --parallel 1 --no-cont-batching --metrics"
	for _, c := range []struct {
		name, in string
		o        engine.ServerOptions
		want     string
	}{
		{name: "nothing", want: defaults},
		{name: "a CPU run", o: engine.ServerOptions{CPU: true}, want: "--n-gpu-layers 0" + defaults},
		{name: "a CPU run wins", in: "-ngl 99 --gpu-layers=3", o: engine.ServerOptions{CPU: true}, want: "--n-gpu-layers 0" + defaults},
		{name: "gpu short", in: "-ngl 99", want: "--n-gpu-layers 99" + defaults},
		{name: "gpu reference spelling", in: "--ngl 99", want: "--n-gpu-layers 99" + defaults},
		{name: "gpu long", in: "--gpu-layers all", want: "--n-gpu-layers all" + defaults},
		{name: "gpu joined", in: "--gpu_layers=all", want: "--n-gpu-layers all" + defaults},
		{name: "short joined", in: "-c=512", want: "--ctx-size 512" + defaults},
		{name: "ctx of ours", o: engine.ServerOptions{Ctx: 512}, want: "--ctx-size 512" + defaults},
		{name: "ctx of both, agreed", in: "-c 512", o: engine.ServerOptions{Ctx: 512}, want: "--ctx-size 512" + defaults},
		{name: "parallel", in: "-np 4", want: "--parallel 4 --no-cont-batching --metrics"},
		{name: "batching on", in: "-cb", want: "--cont-batching --parallel 1 --metrics"},
		{name: "batching off", in: "-nocb", want: "--no-cont-batching --parallel 1 --metrics"},
		{name: "metrics twice is none of our business", in: "--metrics --metrics", want: "--metrics --metrics --parallel 1 --no-cont-batching"},
		{name: "metrics off", in: "--no-metrics", want: "--parallel 1 --no-cont-batching"},
		{name: "unknown ones pass", in: "--brand_new x -zz --jinja", want: "--brand_new x -zz --jinja" + defaults},
		{name: "unknown joined", in: "--brand-new=a=b", want: "--brand-new a=b" + defaults},
		{name: "values with =", in: `--override-kv a.b=int:3 -ot blk\.=CPU`, want: `--override-kv a.b=int:3 -ot blk\.=CPU` + defaults},
		{name: "a value that looks like a flag", in: "--alias --host", want: "--alias --host" + defaults},
		{name: "a value that looks like a synonym", in: "-a -c", want: "-a -c" + defaults},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := engine.ServerFlags(strings.Fields(c.in), c.o)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.Fields(c.want), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			again, err := engine.ServerFlags(got, c.o)
			if err != nil {
				t.Fatal(err)
			}
			// What was applied can be given again: nothing is lost or doubled.
			// (--no-metrics leaves no trace, so it cannot be.)
			if c.in != "--no-metrics" && len(again) != len(got) {
				t.Errorf("a second time: %q, first %q", again, got)
			}
		})
	}
}

func TestServerFlagsRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, use string }{
		{"-m x.gguf", "`model`"},
		{"--model=x.gguf", "`model`"},
		{"-hf a/b", "`model`"},
		{"--model_url http://x", "`model`"},
		{"--host 0.0.0.0", "`listen`"},
		{"--port=1", "`port`"},
		{"--api-key secret", "arguments"},
		{"--api_key=secret", "arguments"},
		{"--api-key secret", "--api-key-file"},
		{"-hft secret", "HF_TOKEN"},
		{"--hf-token=secret", "HF_TOKEN"},
		{"-dr ai/x", "`model`"},
		{"--docker-repo ai/x", "`model`"},
		{"--gpt-oss-20b-default", "`model`"},
		{"--fim-qwen-7b-spec", "`model`"},
		{"-hfd o/x", "`draft`"},
		{"--mmproj-url http://x", "`mmproj`"},
		{"-hfv o/x", "model pull"},
		{"--jinja -c", "--ctx-size needs a value"},
	} {
		_, err := engine.ServerFlags(strings.Fields(c.in), engine.ServerOptions{})
		if fault.ClassOf(err) != fault.Usage || !strings.Contains(fault.Report(err), c.use) {
			t.Errorf("%q: class %v, want %q named in:\n%s", c.in, fault.ClassOf(err), c.use, fault.Report(err))
		}
		if strings.Contains(fault.Report(err), "secret") {
			t.Errorf("%q: the secret is in the error: %v", c.in, err)
		}
	}
	_, err := engine.ServerFlags([]string{"-c", "1"}, engine.ServerOptions{Ctx: 2})
	if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "`ctx` is 2, and the server's flags have --ctx-size 1") {
		t.Errorf("the context size is set twice: %v", err)
	}
	// Everything that is wrong is said at once.
	_, err = engine.ServerFlags(strings.Fields("--port 1 --host x"), engine.ServerOptions{})
	if r := fault.Report(err); !strings.Contains(r, "`listen`") || !strings.Contains(r, "`port`") {
		t.Errorf("two faults:\n%s", r)
	}
}
