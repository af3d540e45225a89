package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// help is what servers of several years print, cut to what is about files.
func help(t *testing.T, name string) engine.Options {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "help-"+name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	o := engine.ParseHelp(engine.Lines(string(b)))
	if len(o) == 0 {
		t.Fatalf("no option was read from the help of %s", name)
	}
	return o
}

func TestParseHelp(t *testing.T) {
	t.Parallel()
	got := engine.ParseHelp([]string{
		"----- common params -----", "",
		"-h,    --help, --usage                  print usage and exit",
		"-fa,   --flash-attn [on|off|auto]       set Flash Attention use ('on', 'off', or 'auto',",
		"                                        default: 'auto')",
		"--lora-scaled FNAME SCALE               path to LoRA adapter",
		"--spec-draft-model, -md, --model-draft FNAME",
		"                                        draft model",
		"load: something that the loader says",
	})
	want := engine.Options{
		{Names: []string{"-h", "--help", "--usage"}, Text: "print usage and exit"},
		{Names: []string{"-fa", "--flash-attn"}, Value: "[on|off|auto]", Text: "set Flash Attention use ('on', 'off', or 'auto', default: 'auto')"},
		{Names: []string{"--lora-scaled"}, Value: "FNAME SCALE", Text: "path to LoRA adapter"},
		{Names: []string{"--spec-draft-model", "-md", "--model-draft"}, Value: "FNAME", Text: "draft model"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Companions are given as the server's own help says.
func TestCompanionFlags(t *testing.T) {
	t.Parallel()
	mmproj := engine.Companion{Kind: engine.KindProjector, At: "/files/0/p.gguf"}
	draft := engine.Companion{Kind: engine.KindDraft, At: "/files/1/d.gguf", Speculation: "draft-simple"}
	silent := engine.Companion{Kind: engine.KindDraft, At: "/files/1/d.gguf"}
	lora := func(at string, scale float64) engine.Companion {
		return engine.Companion{Kind: engine.KindLoRA, At: at, Scale: &scale}
	}
	for name, c := range map[string]struct {
		server string
		in     []engine.Companion
		own    string
		want   string
	}{
		"none":                          {"v0.5.0", nil, "", ""},
		"a projector":                   {"v0.5.0", []engine.Companion{mmproj}, "", "--mmproj /files/0/p.gguf"},
		"a projector, before":           {"b5415", []engine.Companion{mmproj}, "", "--mmproj /files/0/p.gguf"},
		"a draft":                       {"v0.5.0", []engine.Companion{draft}, "", "--spec-draft-model /files/1/d.gguf --spec-type draft-simple"},
		"a draft whose use is given":    {"v0.5.0", []engine.Companion{draft}, "--spec-type draft-mtp", "--spec-draft-model /files/1/d.gguf"},
		"a draft that the server knows": {"v0.5.0", []engine.Companion{silent}, "", "--spec-draft-model /files/1/d.gguf"},
		"a draft, before":               {"b5415", []engine.Companion{draft}, "", "--model-draft /files/1/d.gguf"},
		"a draft, early in 2026":        {"b8390", []engine.Companion{draft}, "", "--model-draft /files/1/d.gguf"},
		"an adapter":                    {"v0.5.0", []engine.Companion{lora("/files/0/a", 1)}, "", "--lora /files/0/a"},
		"adapters":                      {"v0.5.0", []engine.Companion{lora("/files/0/a", 1), lora("/files/1/b", 1)}, "", "--lora /files/0/a,/files/1/b"},
		"adapters, before":              {"b5415", []engine.Companion{lora("/files/0/a", 1), lora("/files/1/b", 1)}, "", "--lora /files/0/a --lora /files/1/b"},
		"scaled adapters":               {"v0.5.0", []engine.Companion{lora("/files/0/a", 1), lora("/files/1/b", 0.5)}, "", "--lora-scaled /files/0/a:1,/files/1/b:0.5"},
		"scaled adapters, before":       {"b5415", []engine.Companion{lora("/files/0/a", 1), lora("/files/1/b", -0.5)}, "", "--lora-scaled /files/0/a 1 --lora-scaled /files/1/b -0.5"},
		"all":                           {"v0.5.0", []engine.Companion{lora("/files/0/a", 1), mmproj, draft}, "", "--mmproj /files/0/p.gguf --spec-draft-model /files/1/d.gguf --spec-type draft-simple --lora /files/0/a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := engine.CompanionFlags(help(t, c.server), c.in, strings.Fields(c.own))
			if err != nil {
				t.Fatal(err)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s, want %s", s, c.want)
			}
		})
	}
}

// What a server was never taught is said before it is started.
func TestCompanionFlagsRefuses(t *testing.T) {
	t.Parallel()
	bare := engine.ParseHelp([]string{"--model FNAME                           model path to load"})
	eagle := engine.Companion{Kind: engine.KindDraft, Ref: "hf:o/r", Speculation: "draft-none-such"}
	for name, c := range map[string]struct {
		o    engine.Options
		c    engine.Companion
		want string
	}{
		"a projector":   {bare, engine.Companion{Kind: engine.KindProjector, Ref: "hf:o/r"}, "kind mmproj"},
		"a draft":       {bare, engine.Companion{Kind: engine.KindDraft, Ref: "hf:o/r"}, "kind draft"},
		"an adapter":    {bare, engine.Companion{Kind: engine.KindLoRA, Ref: "hf:o/r"}, "kind lora"},
		"a way":         {help(t, "v0.5.0"), eagle, "does not know draft-none-such"},
		"a way, before": {help(t, "b5415"), eagle, "does not know draft-none-such"},
	} {
		_, err := engine.CompanionFlags(c.o, []engine.Companion{c.c}, nil)
		if fault.ClassOf(err) != fault.Engine || !strings.Contains(err.Error(), "hf:o/r") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A flag that was renamed is found by what the help says of it.
func TestCompanionFlagsByText(t *testing.T) {
	t.Parallel()
	o := engine.ParseHelp([]string{
		"-eye,  --projector FILE                 path to a multimodal projector file. see tools/mtmd/README.md",
		"--guess FNAME                           draft model for speculative decoding (default: unused)",
	})
	got, err := engine.CompanionFlags(o, []engine.Companion{{Kind: engine.KindProjector, At: "p"}, {Kind: engine.KindDraft, At: "d"}}, nil)
	if s := strings.Join(got, " "); err != nil || s != "--projector p --guess d" {
		t.Errorf("%s, %v", s, err)
	}
}

func TestGiven(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                              "",
		"--mmproj a":                    "mmproj",
		"-mm=a":                         "mmproj",
		"--no-mmproj":                   "mmproj",
		"--no_mmproj_auto":              "mmproj",
		"-md a":                         "draft",
		"--spec-draft-model=a --lora b": "draft",
	} {
		got := ""
		for _, k := range []engine.Kind{engine.KindProjector, engine.KindDraft, engine.KindLoRA} {
			if engine.Given(strings.Fields(in))[k] {
				got += string(k)
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"--spec-type draft-mtp,ngram-mod": "draft-mtp ngram-mod", "--spec_type=draft-eagle3": "draft-eagle3", "--jinja": ""} {
		if got := strings.Join(engine.SpeculationOf(strings.Fields(in)), " "); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
