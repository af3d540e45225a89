package engine_test

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// host is a host with the files a, b, c,d and e:f.
type host struct{ placed []engine.Path }

func (*host) Is(p string) bool { return slices.Contains([]string{"a", "b", "c,d", "e:f"}, p) }

func (h *host) Place(p engine.Path) (string, error) {
	if !h.Is(p.Value) && p.Use < engine.WritesFolder {
		return "", fault.New(fault.Usage, p.Flag+" "+p.Value, errors.New("there is no such file"), "check the path")
	}
	h.placed = append(h.placed, p)
	return path.Join("/in", p.Name), nil
}

func TestWithPaths(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want, placed string }{
		"nothing":                     {"--jinja -c 512", "--jinja -c 512", ""},
		"one":                         {"--mmproj a", "--mmproj /in/mmproj", "a"},
		"joined":                      {"--mmproj=a --jinja", "--mmproj /in/mmproj --jinja", "a"},
		"short":                       {"-mm a", "-mm /in/mmproj", "a"},
		"short, joined":               {"-md=a", "-md /in/model-draft", "a"},
		"a draft's newer name":        {"--spec-draft-model a", "--spec-draft-model /in/model-draft", "a"},
		"underscores":                 {"--chat_template_file a", "--chat_template_file /in/chat-template-file", "a"},
		"a list":                      {"--lora a,b", "--lora /in/lora,/in/lora", "a b"},
		"a name with a comma":         {"--lora c,d", "--lora /in/lora", "c,d"},
		"a list with quotes":          {`--lora a,"c,d"`, "--lora /in/lora,/in/lora", "a c,d"},
		"scaled":                      {"--lora-scaled a:0.5", "--lora-scaled /in/lora-scaled:0.5", "a"},
		"several scaled":              {"--lora-scaled a:0.5,e:f:-1", "--lora-scaled /in/lora-scaled:0.5,/in/lora-scaled:-1", "a e:f"},
		"scaled, as before 2026":      {"--control-vector-scaled a 0.5", "--control-vector-scaled /in/control-vector-scaled 0.5", "a"},
		"a folder that is written to": {"--slot-save-path new", "--slot-save-path /in/slot-save-path", "new"},
		"a value that is a flag":      {"--alias --mmproj --jinja", "--alias --mmproj --jinja", ""},
		"a value that is short":       {"-a -md", "-a -md", ""},
		"one that is named like one":  {"--brand-new-file a", "--brand-new-file /in/brand-new-file", "a"},
		"the same, joined":            {"--brand-new-file=a", "--brand-new-file /in/brand-new-file", "a"},
		"the same without a file":     {"--brand-new-file x", "--brand-new-file x", ""},
		"what is not named like one":  {"--brand-new a", "--brand-new a", ""},
		"a word that is no flag":      {"mmproj a", "mmproj a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &host{}
			got, err := engine.WithPaths(strings.Fields(c.in), h)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.Fields(c.want), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			var placed []string
			for _, p := range h.placed {
				placed = append(placed, p.Value)
			}
			if d := cmp.Diff(strings.Fields(c.placed), placed); d != "" && c.placed+strings.Join(placed, "") != "" {
				t.Errorf("placed (-want +got):\n%s", d)
			}
			// What the server gets can be given again, as far as it is about ours.
			if _, err := engine.ServerFlags(got, engine.ServerOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWithPathsRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"--mmproj x":                        {"--mmproj x", "no such file"},
		"-md=x":                             {"-md x"},
		"--spec_draft_model x":              {"--spec_draft_model x"},
		"--lora a,x,y":                      {"--lora x", "--lora y"},
		"--lora-scaled a":                   {"--lora-scaled a has no scale"},
		"--grammar-file":                    {"--grammar-file needs a value"},
		"--grammar-file x --ssl-key-file y": {"--grammar-file x", "--ssl-key-file y"},
	} {
		_, err := engine.WithPaths(strings.Fields(in), &host{})
		if fault.ClassOf(err) != fault.Usage {
			t.Errorf("%q: class %v, want a fault.Usage", in, fault.ClassOf(err))
		}
		for _, w := range want {
			if err != nil && !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %q is not in: %v", in, w, err)
			}
		}
	}
}

// What holds a secret, and what is written to, is known to be so under every name.
func TestUseOfPaths(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]engine.Use{
		"--api-key-file a": engine.ReadsSecret, "--ssl_key_file=a": engine.ReadsSecret, "--ssl-cert-file a": engine.ReadsFile,
		"--media-path a": engine.ReadsFolder, "--slot-save-path a": engine.WritesFolder, "--log-file a": engine.WritesFile,
	} {
		h := &host{}
		if _, err := engine.WithPaths(strings.Fields(in), h); err != nil || len(h.placed) != 1 || h.placed[0].Use != want {
			t.Errorf("%s: %+v, %v", in, h.placed, err)
		}
	}
}
