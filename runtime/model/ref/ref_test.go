package ref

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llorch/llorch-bk/images/fault"
)

var someSum = strings.Repeat("ab", 32)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw  string
		want Ref
	}{
		{"m.gguf", Ref{Raw: "m.gguf", Path: "m.gguf"}},
		{"/a/b c#1.gguf", Ref{Raw: "/a/b c#1.gguf", Path: "/a/b c#1.gguf"}},
		{"file:./m.gguf", Ref{Raw: "file:./m.gguf", Path: "m.gguf"}},
		{"file:///a/m.gguf", Ref{Raw: "file:///a/m.gguf", Path: "/a/m.gguf"}},
		{"file://localhost/a/m.gguf", Ref{Raw: "file://localhost/a/m.gguf", Path: "/a/m.gguf"}},
		{"m.gguf#sha256=" + strings.ToUpper(someSum), Ref{Raw: "m.gguf#sha256=" + someSum, Path: "m.gguf", SHA256: someSum}},
		{"hf:org/name/f.gguf", Ref{Raw: "hf:org/name/f.gguf", Kind: Hub, Repo: "org/name", Revision: "main", File: "f.gguf"}},
		{"hf:o/n.1/sub/f.gguf#sha256=" + someSum, Ref{
			Raw: "hf:o/n.1/sub/f.gguf#sha256=" + someSum, Kind: Hub, Repo: "o/n.1", Revision: "main", File: "sub/f.gguf", SHA256: someSum,
		}},
		{"hf:org/name", Ref{Raw: "hf:org/name", Kind: Hub, Repo: "org/name", Revision: "main"}},
		{"hf:org/name:Q4_K_M", Ref{Raw: "hf:org/name:Q4_K_M", Kind: Hub, Repo: "org/name", Revision: "main", Quant: "Q4_K_M"}},
		{"hf:org/name:UD-Q4_K_XL@v2", Ref{Raw: "hf:org/name:UD-Q4_K_XL@v2", Kind: Hub, Repo: "org/name", Revision: "v2", Quant: "UD-Q4_K_XL"}},
		{"hf:org/name@v2:q8_0", Ref{Raw: "hf:org/name@v2:q8_0", Kind: Hub, Repo: "org/name", Revision: "v2", Quant: "q8_0"}},
		{"hf:o/n@v1.0/f.gguf", Ref{Raw: "hf:o/n@v1.0/f.gguf", Kind: Hub, Repo: "o/n", Revision: "v1.0", File: "f.gguf"}},
		{"hf:o/n@refs%2Fpr%2F1/f.gguf", Ref{Raw: "hf:o/n@refs%2Fpr%2F1/f.gguf", Kind: Hub, Repo: "o/n", Revision: "refs/pr/1", File: "f.gguf"}},
		{"https://h.example/d/m.gguf?sig=secret", Ref{
			Raw: "https://h.example/d/m.gguf", Kind: HTTP, URL: "https://h.example/d/m.gguf?sig=secret",
		}},
		{"http://h:81/m#sha256=" + someSum, Ref{Raw: "http://h:81/m#sha256=" + someSum, Kind: HTTP, URL: "http://h:81/m", SHA256: someSum}},
	} {
		got, err := Parse(c.raw)
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.raw, d)
		}
		if again, err := Parse(got.Raw); got.Kind != HTTP && (err != nil || again != got) {
			t.Errorf("%s: Raw reads back as %+v, %v", c.raw, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"", "  ", "a\nb", "file:", "file://other/m.gguf", "m.gguf#sha256=12",
		"hf:", "hf:org", "hf:org/name:", "hf:org/name:a b", "hf:org/name:Q4_K_M/f.gguf", "hf:org/name@:Q4_K_M", "hf:org/name:Q4@", "hf:../name/f", "hf:a--b/n/f",
		"hf:o/n/../f", "hf:o/n/./f", "hf:o/n//f", "hf:o/n/a/", `hf:o/n/a\b`, "hf:o/n@/f", "hf:o/n@../f", "hf:o/n@%2e%2e/f", "hf:o/n@a%2F..%2Fb/f",
		"hf:o/n/f#x", "http://", "https:///m", "http://h/m#frag", "ftp://h/m", "s3://h/m", "oci://user:geheim@h/m", "oci://geheim@h/m@sha256:1", "http://user:geheim@h/m", "https://geheim@h/m?a#b", "http://[::1/m?geheim",
	} {
		_, err := Parse(raw)
		if err == nil {
			t.Errorf("%q was taken", raw)
			continue
		}
		wantUsage(t, err)
		if strings.Contains(fault.Report(err), "geheim") {
			t.Errorf("%q: the fault repeats a secret: %v", raw, err)
		}
	}
}

func TestRefPrintsNoQuery(t *testing.T) {
	t.Parallel()
	r := parse(t, "https://h/m.gguf?sig=geheim")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, r); strings.Contains(s, "geheim") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

// What a URL ends in need not be a file's name.
func TestWebName(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://h/d/m.gguf?q=1":                "m.gguf",
		"https://h/a%20b.gguf":                  "a_b.gguf",
		"https://h/.hidden.gguf":                "hidden.gguf",
		"https://h/-flag":                       "flag",
		"https://h":                             "model.gguf",
		"https://h/":                            "model.gguf",
		"https://h/d/":                          "d",
		"https://h/-":                           "model.gguf",
		"https://h/d/..":                        "model.gguf",
		"https://h/" + strings.Repeat("-", 200): "model.gguf",
	} {
		if got := (Ref{Kind: HTTP, URL: address}).BaseName(); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"m.gguf", "file:///a", "hf:o/n@r%2Fs/d/f.gguf#sha256=" + someSum, "hf.co/o/n/blob/refs%2Fpr%2F1/f", "ms://o/n:Q8_0@refs/pr/2", "o/n@v1:Q", "https://huggingface.co/o/n?show_file_info=a%2Fb", "file:///a%20b", "https://h/p?q#sha256=" + someSum, "http://u:p@h/", "oci://h:1/o/m:t@sha256:" + someSum} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := Parse(raw)
		if err != nil {
			if fault.ClassOf(err) != fault.Usage {
				t.Fatalf("%q: class %d", raw, fault.ClassOf(err))
			}
			return
		}
		if r.Kind == Hub && (r.File != "" && !CleanRelative(r.File) || !CleanRelative(r.Revision) || strings.Count(r.Repo, "/") != 1) {
			t.Fatalf("%q: %+v leaves its folder", raw, r)
		}
		if r.Kind == Registry && (!IsName(r.BaseName()) || !CleanRelative(r.Revision) || strings.Contains(r.Revision, "/")) {
			t.Fatalf("%q: %+v leaves its folder", raw, r)
		}
		if r.Kind == HTTP && !IsName(r.BaseName()) {
			t.Fatalf("%q: file name %q", raw, r.BaseName())
		}
	})
}
