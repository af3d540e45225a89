package gguf

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	fixture "github.com/llorch/llorch-bk/fixtures/gguf"
)

func TestPick(t *testing.T) {
	t.Parallel()
	qwen := []string{
		"README.md", "qwen2.5-0.5b-instruct-fp16.gguf", "qwen2.5-0.5b-instruct-q2_k.gguf", "qwen2.5-0.5b-instruct-q4_0.gguf",
		"qwen2.5-0.5b-instruct-q4_k_m.gguf", "qwen2.5-0.5b-instruct-q8_0.gguf",
	}
	unsloth := []string{
		"BF16/M-BF16-00001-of-00002.gguf", "BF16/M-BF16-00002-of-00002.gguf", "M-Q4_K_M.gguf", "M-UD-IQ2_XXS.gguf",
		"M-UD-Q4_K_XL.gguf", "M-UD-Q8_K_XL.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "imatrix_unsloth.gguf", "mtp-M-Q8_0.gguf",
	}
	sizes := []string{"m-7b-q4_0.gguf", "m-13b-q4_0.gguf"}
	for name, c := range map[string]struct {
		files []string
		quant string
		// want is the file, or a part of the error; has is what the error lists first.
		want, has string
	}{
		"a quantisation":                       {qwen, "Q4_0", "qwen2.5-0.5b-instruct-q4_0.gguf", ""},
		"in any case of letters":               {qwen, "q8_0", "qwen2.5-0.5b-instruct-q8_0.gguf", ""},
		"none: llama.cpp's first choice":       {qwen, "", "qwen2.5-0.5b-instruct-q4_k_m.gguf", ""},
		"none: its second":                     {[]string{"a-Q2_K.gguf", "a-Q8_0.gguf"}, "", "a-Q8_0.gguf", ""},
		"none: the first of all":               {[]string{"mmproj-F16.gguf", "a-Q2_K.gguf", "a-Q3_K_S.gguf"}, "", "a-Q2_K.gguf", ""},
		"none, and only a projector":           {[]string{"mmproj-F16.gguf"}, "", "no .gguf model", ""},
		"dynamic":                              {unsloth, "UD-Q4_K_XL", "M-UD-Q4_K_XL.gguf", ""},
		"dynamic without saying so":            {unsloth, "Q4_K_XL", "M-UD-Q4_K_XL.gguf", ""},
		"the first shard":                      {unsloth, "BF16", "BF16/M-BF16-00001-of-00002.gguf", ""},
		"a draft head is no model":             {unsloth, "Q8_0", "no model quantised as Q8_0", ""},
		"the exact one before the dynamic":     {[]string{"a-UD-Q4_K_M.gguf", "a-Q4_K_M.gguf"}, "Q4_K_M", "a-Q4_K_M.gguf", ""},
		"a part of a name is no name":          {qwen, "Q4_K", "no model quantised as Q4_K", "Q2_K"},
		"not there":                            {qwen, "Q6_K", "no model quantised as Q6_K", "Q2_K"},
		"two models in one repository":         {sizes, "Q4_0", "2 models", "m-7b-q4_0.gguf"},
		"an empty repository":                  {nil, "Q4_0", "no model quantised as Q4_0", ""},
		"a name that says no quantisation":     {[]string{"model.gguf"}, "Q4_0", "no model", "model.gguf"},
		"a quantisation as a folder's name":    {[]string{"Q4_0/model-00001-of-00003.gguf", "Q8_0/model.gguf"}, "Q4_0", "Q4_0/model-00001-of-00003.gguf", ""},
		"a folder's, and no other is given":    {[]string{"Q2_K/model.gguf", "Q4_K_M/model.gguf"}, "", "Q4_K_M/model.gguf", ""},
		"the end of a folder's name":           {[]string{"m-UD-Q2_K_XL/model.gguf", "m-Q2_K/model.gguf"}, "ud-q2_k_xl", "m-UD-Q2_K_XL/model.gguf", ""},
		"a draft head in a folder":             {[]string{"MTP/g-Q8_0-MTP.gguf", "g-Q8_0.gguf"}, "Q8_0", "g-Q8_0.gguf", ""},
		"none, and a draft head first":         {[]string{"MTP/g-Q8_0-MTP.gguf", "g-UD-Q4_K_XL.gguf", "mmproj-BF16.gguf", "mtp-g.gguf"}, "", "g-UD-Q4_K_XL.gguf", ""},
		"a draft head in the model's own name": {[]string{"Q-27B-mtp-Q6_K.gguf"}, "Q6_K", "Q-27B-mtp-Q6_K.gguf", ""},
		"an imatrix in the model's own name":   {[]string{"imatrix.gguf", "F-7B-imatrix-Q4_K_M.gguf"}, "", "F-7B-imatrix-Q4_K_M.gguf", ""},
		"an imatrix beside models":             {[]string{"F-7B-F16.imatrix.gguf", "F-7B-Q4_K_M.gguf"}, "F16", "no model quantised as F16", "Q4_K_M"},
		"a suffix that llama.cpp does not see": {[]string{"a-IQ4_NL.gguf"}, "iq4_nl", "a-IQ4_NL.gguf", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, why, err := Pick(c.files, c.quant)
			if err == nil {
				if got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
				if (why != "") != (c.quant == "") {
					t.Errorf("said %q", why)
				}
				return
			}
			var p *PickError
			if !errors.As(err, &p) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %q, %v, want %q", got, err, c.want)
			}
			if c.has != "" && (len(p.has) == 0 || p.has[0] != c.has) {
				t.Errorf("it lists %q, want %s first", p.has, c.has)
			}
		})
	}
}

// Headers decide where names leave a doubt, and are not read where they leave none.
func TestPickBy(t *testing.T) {
	t.Parallel()
	model := Facts{Architecture: "llama", Quant: "Q6_K", firstBlock: true}
	unproven := Facts{Architecture: "llama"}
	draft := Facts{Architecture: "llama", draft: true}
	assistant := Facts{Architecture: "gemma4-assistant"}
	for name, c := range map[string]struct {
		headers map[string]Facts
		quant   string
		// want is the file, or a part of the error; looks is how many headers are read.
		want  string
		looks int
	}{
		"no doubt":                           {map[string]Facts{"a-Q6_K.gguf": model, "a-Q8_0.gguf": model}, "Q6_K", "a-Q6_K.gguf", 0},
		"a word inside the name":             {map[string]Facts{"a-mtp-Q6_K.gguf": model}, "Q6_K", "a-mtp-Q6_K.gguf", 1},
		"a draft head by its header":         {map[string]Facts{"a-mtp-Q6_K.gguf": draft}, "Q6_K", "no model", 1},
		"a word at the beginning, and alone": {map[string]Facts{"mtp-7b-Q6_K.gguf": unproven, "mtp-7b-Q8_0.gguf": unproven}, "Q6_K", "mtp-7b-Q6_K.gguf", 1},
		"the same, and draft heads":          {map[string]Facts{"mtp-7b-Q6_K.gguf": draft}, "Q6_K", "no model", 1},
		"the same beside a model, unproven":  {map[string]Facts{"mtp-7b-Q6_K.gguf": unproven, "7b-Q8_0.gguf": model}, "Q6_K", "no model", 1},
		"the same beside a model, proven":    {map[string]Facts{"mtp-7b-Q6_K.gguf": model, "7b-Q8_0.gguf": model}, "Q6_K", "mtp-7b-Q6_K.gguf", 1},
		"a projector alone":                  {map[string]Facts{"mmproj-Q6_K.gguf": unproven}, "", "no .gguf model", 1},
		"two, one for drafts":                {map[string]Facts{"g-Q6_K.gguf": model, "g-assistant-Q6_K.gguf": assistant}, "Q6_K", "g-Q6_K.gguf", 2},
		"the first is for drafts":            {map[string]Facts{"assistant.gguf": assistant, "g.gguf": model}, "", "g.gguf", 2},
		"a quantisation in the header alone": {map[string]Facts{"a.gguf": {Quant: "Q4_0"}, "b.gguf": model}, "q6_k", "b.gguf", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			looks := 0
			got, _, err := PickBy(slices.Sorted(maps.Keys(c.headers)), c.quant, func(file string) (Facts, error) {
				looks++
				return c.headers[file], nil
			})
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) || looks != c.looks {
				t.Errorf("%q after %d looks, want %q after %d", got, looks, c.want, c.looks)
			}
		})
	}
	// A header that cannot be read leaves what the names say.
	for file, want := range map[string]bool{"a-mtp-Q6_K.gguf": true, "mtp-a-Q6_K.gguf": false} {
		_, _, err := PickBy([]string{file}, "Q6_K", func(string) (Facts, error) { return Facts{}, errors.New("no range") })
		if (err == nil) != want {
			t.Errorf("%s without a header: %v", file, err)
		}
	}
}

func TestQuantOf(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"Llama-3.2-1B-Instruct-Q4_K_M.gguf":             "Q4_K_M",
		"gemma-3-4b-it-UD-IQ2_XXS.gguf":                 "UD-IQ2_XXS",
		"gpt-oss-20b-mxfp4.gguf":                        "MXFP4",
		"DeepSeek-R1-UD-Q2_K_XL-00001-of-00005.gguf":    "UD-Q2_K_XL",
		"model.Q5_1.gguf":                               "Q5_1",
		"Q8_0/m-00001-of-00002.gguf":                    "Q8_0",
		"gguf/Q4_K_M/model.gguf":                        "Q4_K_M",
		"m-BF16/m-Q4_0.gguf":                            "Q4_0",
		"m-F16-Q4_K_M.gguf":                             "Q4_K_M",
		"Q4_K_M-notes/model.gguf":                       "",
		"tinyllama-fp16.gguf":                           "",
		"tinyllama-f16.gguf":                            "F16",
		"stories260K.gguf":                              "",
		"a-q4_0-b-q8_0.gguf":                            "Q8_0",
		"TriLM-TQ2_0.gguf":                              "TQ2_0",
		"bf16-is-not-it/model-bf16-something-else.gguf": "BF16",
	} {
		if got := QuantOf(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

func TestShards(t *testing.T) {
	t.Parallel()
	want := []string{"d/m-00001-of-00003.gguf", "d/m-00002-of-00003.gguf", "d/m-00003-of-00003.gguf"}
	for _, file := range want {
		if diff := cmp.Diff(want, Shards(file)); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
	for _, file := range []string{"m.gguf", "m-00004-of-00003.gguf", "m-00000-of-00003.gguf", "m-1-of-3.gguf", "m-00001-of-99999.gguf", "-00001-of-00002.gguf"} {
		if got := Shards(file); !slices.Equal(got, []string{file}) {
			t.Errorf("%s: %q", file, got)
		}
	}
}

// A name says that a file is a part of a model, and its header what it is.
func TestParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		body []byte
		want int
	}{
		"merged-00001-of-00003.gguf": {written(t, nil), 1},
		"plain-00001-of-00003.gguf":  {written(t, func(f *fixture.File) { f.Metadata = f.Metadata[:4] }), 1},
		"part-00001-of-00003.gguf":   {written(t, set("split.count", uint32(3))), 3},
		"odd-00001-of-00003.gguf":    {[]byte("GGUF and nothing that can be read"), 3},
		"gone-00001-of-00003.gguf":   {nil, 3},
		"one.gguf":                   {written(t, nil), 1},
	} {
		path := filepath.Join(dir, name)
		if c.body != nil {
			if err := os.WriteFile(path, c.body, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := Parts(path); len(got) != c.want || got[0] != name {
			t.Errorf("%s is in %q", name, got)
		}
	}
}

// A quantisation and a name from outside choose a file of the list, or none.
func FuzzPick(f *testing.F) {
	f.Add("Q4_K_M", "m-Q4_K_M.gguf")
	f.Add("", "m-00001-of-00002.gguf")
	f.Add("ud-q8_k_xl", "a/b-UD-Q8_K_XL-00001-of-00003.gguf")
	f.Fuzz(func(t *testing.T, quant, name string) {
		files := []string{name, "x-Q8_0.gguf"}
		got, _, err := Pick(files, quant)
		if err == nil && !slices.Contains(files, got) {
			t.Fatalf("%q of %q gives %q", quant, files, got)
		}
		if n := len(Shards(name)); n < 1 || n > MaxShards {
			t.Fatalf("%q is in %d files", name, n)
		}
	})
}
