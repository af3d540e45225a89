package registry

import (
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

func named(kind, name string) v1.Descriptor {
	d := v1.Descriptor{MediaType: types.MediaType(kind)}
	if name != "" {
		d.Annotations = map[string]string{"org.opencontainers.image.title": name}
	}
	return d
}

func TestIsWeights(t *testing.T) {
	t.Parallel()
	for kind, c := range map[string]struct {
		name string
		want bool
	}{
		"application/vnd.docker.ai.gguf.v3":                 {"", true},
		"application/vnd.docker.ai.model.file.v1+gguf":      {"", true},
		"application/vnd.docker.ai.gguf.v3.lora":            {"l.gguf", false},
		"application/vnd.docker.ai.mmproj":                  {"mmproj.gguf", false},
		"application/vnd.docker.ai.license":                 {"", false},
		"application/vnd.docker.ai.safetensors":             {"m.safetensors", false},
		"application/vnd.cncf.model.weight.v1.gguf":         {"", true},
		"application/vnd.cncf.model.weight.gguf":            {"", true},
		"application/vnd.cncf.model.weight.v1.raw":          {"m.gguf", true},
		"application/vnd.cncf.model.weight.v1.RAW":          {"", true},
		"application/vnd.cncf.model.weight.v1.tar":          {"m.gguf", false},
		"application/vnd.cncf.model.weight.v1.tar+gzip":     {"m.gguf", false},
		"application/vnd.cncf.model.weight.config.v1.raw":   {"config.json", false},
		"application/vnd.ollama.image.model":                {"", true},
		"application/vnd.ollama.image.projector":            {"", false},
		"application/vnd.ollama.image.adapter":              {"", false},
		"application/vnd.ollama.image.template":             {"", false},
		"application/vnd.ollama.image.tensor":               {"", false},
		"application/vnd.oci.image.layer.v1.tar":            {"m-Q8_0.gguf", true},
		"application/vnd.oci.image.layer.v1.tar+gzip":       {"m.gguf", false},
		"application/octet-stream":                          {"M.GGUF", true},
		"application/vnd.unknown.layer.v1":                  {"folder/m.gguf", true},
		"application/vnd.docker.image.rootfs.diff.tar.gzip": {"", false},
		"application/vnd.kitops.modelkit.model.v1.tar+gzip": {"m.gguf", false},
		"text/plain": {"README.md", false},
	} {
		if got := isWeights(named(kind, c.name)); got != c.want {
			t.Errorf("%s %q: %t", kind, c.name, got)
		}
	}
}

func TestSaidPath(t *testing.T) {
	t.Parallel()
	for want, annotations := range map[string]map[string]string{
		"a/m.gguf": {"org.cncf.model.filepath": "a/m.gguf", "org.opencontainers.image.title": "other.gguf"},
		"t.gguf":   {"org.opencontainers.image.title": "t.gguf"},
		"j.gguf":   {"org.cncf.model.file.metadata+json": `{"name":"j.gguf","mode":420}`},
		"d.gguf":   {"org.cncf.model.filepath": "./d.gguf"},
		"e.gguf":   {"org.cncf.model.filepath": "/home/somebody/e.gguf"},
	} {
		if got := saidName(v1.Descriptor{Annotations: annotations}); got != want {
			t.Errorf("%v: %q, want %q", annotations, got, want)
		}
	}
	for _, said := range []string{"", "x\n.gguf", "../../etc/cron.gguf", "a/../../b.gguf", ".gguf", "m.bin"} {
		if got := saidName(v1.Descriptor{Annotations: map[string]string{"org.cncf.model.filepath": said, "org.cncf.model.file.metadata+json": "{"}}); got != "" {
			t.Errorf("%q: %q", said, got)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	model := func(name string) candidate {
		return candidate{name: name, known: true, facts: gguf.Facts{Architecture: "llama"}}
	}
	projector := candidate{name: "vision.gguf", known: true, facts: gguf.Facts{Architecture: "clip"}}
	part := func(name string, i, n int) candidate {
		return candidate{name: name, known: true, facts: gguf.Facts{Split: gguf.Split{Index: i, Count: n}}}
	}
	unread := func(name string) candidate { return candidate{name: name} }
	for what, c := range map[string]struct {
		all   []candidate
		quant string
		// want are the names of the files, or a part of the error.
		want string
	}{
		"one":                             {[]candidate{unread("")}, "", ""},
		"a projector before its model":    {[]candidate{projector, model("m.gguf")}, "", "m.gguf"},
		"a projector that says so":        {[]candidate{unread("mmproj-m-F16.gguf"), unread("m-Q8_0.gguf")}, "", "m-Q8_0.gguf"},
		"nothing but a projector":         {[]candidate{projector}, "", "vision.gguf"},
		"two quantisations":               {[]candidate{model("m-Q8_0.gguf"), model("m-Q4_K_M.gguf")}, "", "m-Q4_K_M.gguf"},
		"two, and the tag says which":     {[]candidate{model("m-Q8_0.gguf"), model("m-Q4_K_M.gguf")}, "Q8_0", "m-Q8_0.gguf"},
		"two, and the tag says another":   {[]candidate{model("m-Q8_0.gguf"), model("m-Q4_K_M.gguf")}, "Q2_K", "m-Q4_K_M.gguf"},
		"two in folders":                  {[]candidate{model("Q8_0/m.gguf"), model("Q4_K_M/m.gguf")}, "Q8_0", "Q8_0/m.gguf"},
		"two whose headers are not read":  {[]candidate{unread("m-Q8_0.gguf"), unread("m-Q4_K_M.gguf")}, "", "m-Q4_K_M.gguf"},
		"two of which nobody knows":       {[]candidate{unread(""), unread("")}, "", "|"},
		"merged files with parts' names":  {[]candidate{model("m-00001-of-00002.gguf"), model("m-00002-of-00002.gguf")}, "", "m-00001-of-00002.gguf"},
		"parts, by their headers":         {[]candidate{part("", 2, 3), part("", 0, 3), part("x.gguf", 1, 3)}, "", "|x.gguf|"},
		"parts in the wrong order":        {[]candidate{part("m-00002-of-00002.gguf", 1, 2), part("m-00001-of-00002.gguf", 0, 2)}, "", "m-00001-of-00002.gguf|m-00002-of-00002.gguf"},
		"a part is missing":               {[]candidate{part("", 0, 3), part("", 2, 3)}, "", "in 3 files, and the artifact has 2"},
		"a part is there twice":           {[]candidate{part("", 0, 2), part("", 0, 2)}, "", "in 2 files"},
		"two models in parts, and a part": {[]candidate{part("a-Q8_0-00001-of-00002.gguf", 0, 2), part("b-Q4_K_M-00001-of-00002.gguf", 0, 2), part("a-Q8_0-00002-of-00002.gguf", 1, 2), part("b-Q4_K_M-00002-of-00002.gguf", 1, 2)}, "Q8_0", "a-Q8_0-00001-of-00002.gguf|a-Q8_0-00002-of-00002.gguf"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			chosen, why, err := choose(c.all, "base", c.quant)
			names := make([]string, len(chosen))
			for i, file := range chosen {
				names[i] = file.name
			}
			got := strings.Join(names, "|")
			if err != nil {
				got = err.Error()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if strings.HasPrefix(what, "two q") && !strings.Contains(why, "2 models") {
				t.Errorf("that there are two is not said: %q", why)
			}
		})
	}
}
