package ref

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llorch/llorch-bk/images/fault"
)

// What people paste: every spelling means one ref, and that ref's Raw means it again.
func TestSpellings(t *testing.T) {
	t.Parallel()
	repo := Ref{Kind: Hub, Repo: "Org/Repo-GGUF", Revision: "main"}
	with := func(change func(r *Ref)) Ref {
		r := repo
		change(&r)
		return r
	}
	quant := with(func(r *Ref) { r.Quant = "Q4_K_M" })
	file := with(func(r *Ref) { r.File = "sub/m.gguf" })
	request := with(func(r *Ref) { r.Revision = "refs/pr/1" })
	ms := func(r Ref) Ref {
		r.Site, r.Revision = ModelScope, "master"
		return r
	}
	for want, spellings := range map[*Ref][]string{
		&repo: {
			"hf:Org/Repo-GGUF", "hf://Org/Repo-GGUF", "HF://Org/Repo-GGUF/", "huggingface://Org/Repo-GGUF", "huggingface:Org/Repo-GGUF", "  hf:Org/Repo-GGUF\n",
			"hf.co/Org/Repo-GGUF", "HF.CO/Org/Repo-GGUF/", "huggingface.co/Org/Repo-GGUF", "https://huggingface.co/Org/Repo-GGUF", "HTTPS://HuggingFace.co/Org/Repo-GGUF/",
			"https://hf.co/Org/Repo-GGUF", "http://www.huggingface.co/Org/Repo-GGUF?library=llama", "https://huggingface.co/Org/Repo-GGUF/tree/main", "hf:Org/Repo-GGUF:latest",
			"https://huggingface.co:443/Org/Repo-GGUF",
		},
		&quant: {
			"hf:Org/Repo-GGUF:Q4_K_M", "hf://Org/Repo-GGUF:Q4_K_M", "huggingface://Org/Repo-GGUF:Q4_K_M", "hf.co/Org/Repo-GGUF:Q4_K_M", "Org/Repo-GGUF:Q4_K_M", " Org/Repo-GGUF:Q4_K_M ",
			"https://huggingface.co/Org/Repo-GGUF:Q4_K_M", "hf:Org/Repo-GGUF:Q4_K_M@main", "hf:Org/Repo-GGUF@main:Q4_K_M", "hf:Org/Repo-GGUF:Q4_K_M/",
		},
		&file: {
			"hf:Org/Repo-GGUF/sub/m.gguf", "hf://Org/Repo-GGUF/sub/m.gguf", "hf:Org/Repo-GGUF@main/sub/m.gguf", "hf:Org/Repo-GGUF/sub/m.gguf/",
			"https://huggingface.co/Org/Repo-GGUF/resolve/main/sub/m.gguf?download=true", "https://huggingface.co/Org/Repo-GGUF/blob/main/sub/m.gguf",
			"hf.co/Org/Repo-GGUF/resolve/main/sub/m.gguf", "https://huggingface.co/Org/Repo-GGUF/raw/main/sub/m.gguf", "https://huggingface.co/Org/Repo-GGUF/blob/main/sub%2Fm.gguf",
			"https://huggingface.co/Org/Repo-GGUF?show_file_info=sub/m.gguf",
		},
		&request: {
			"hf:Org/Repo-GGUF@refs/pr/1", "hf:Org/Repo-GGUF@refs%2Fpr%2F1", "Org/Repo-GGUF@refs/pr/1", "https://huggingface.co/Org/Repo-GGUF/tree/refs%2Fpr%2F1", "https://huggingface.co/Org/Repo-GGUF/tree/refs/pr/1",
		},
		new(with(func(r *Ref) { r.Revision, r.Quant = "refs/pr/1", "Q4_K_M" })): {
			"hf:Org/Repo-GGUF@refs/pr/1:Q4_K_M", "hf:Org/Repo-GGUF:Q4_K_M@refs/pr/1", "Org/Repo-GGUF@refs/pr/1:Q4_K_M", "hf:Org/Repo-GGUF@refs%2Fpr%2F1:Q4_K_M",
		},
		new(with(func(r *Ref) { r.Revision, r.File = "refs/pr/1", "sub/m.gguf" })): {
			"hf:Org/Repo-GGUF@refs/pr/1/sub/m.gguf", "https://huggingface.co/Org/Repo-GGUF/blob/refs%2Fpr%2F1/sub/m.gguf", "https://huggingface.co/Org/Repo-GGUF/resolve/refs/pr/1/sub/m.gguf",
		},
		new(with(func(r *Ref) { r.Revision = "refs/convert/a-b.c" })): {"hf:Org/Repo-GGUF@refs/convert/a-b.c", "Org/Repo-GGUF@refs%2Fconvert%2Fa-b.c"},
		new(with(func(r *Ref) { r.Revision = "v2" })):                 {"Org/Repo-GGUF@v2", "hf.co/Org/Repo-GGUF@v2", "https://huggingface.co/Org/Repo-GGUF/tree/v2"},
		new(with(func(r *Ref) { r.File = "m.gguf" })):                 {"hf:Org/Repo-GGUF:m.gguf", "hf:Org/Repo-GGUF/m.gguf"},
		new(with(func(r *Ref) { r.File = "my model.gguf" })):          {"hf:Org/Repo-GGUF/my model.gguf", "https://huggingface.co/Org/Repo-GGUF/resolve/main/my%20model.gguf"},
		new(ms(repo)): {
			"ms:Org/Repo-GGUF", "ms://Org/Repo-GGUF", "MS://Org/Repo-GGUF/", "modelscope://Org/Repo-GGUF", "https://www.modelscope.cn/models/Org/Repo-GGUF", "https://modelscope.cn/models/Org/Repo-GGUF/summary",
			"modelscope.cn/Org/Repo-GGUF", "https://www.modelscope.cn/models/Org/Repo-GGUF/files", "ms:Org/Repo-GGUF@master",
		},
		new(ms(quant)): {"ms://Org/Repo-GGUF:Q4_K_M", "modelscope.cn/Org/Repo-GGUF:Q4_K_M"},
		new(ms(file)): {
			"ms://Org/Repo-GGUF/sub/m.gguf", "https://www.modelscope.cn/models/Org/Repo-GGUF/resolve/master/sub/m.gguf", "https://modelscope.cn/models/Org/Repo-GGUF/file/view/master/sub/m.gguf?status=2",
			"https://www.modelscope.cn/api/v1/models/Org/Repo-GGUF/repo?Revision=master&FilePath=sub%2Fm.gguf",
		},
	} {
		for _, raw := range spellings {
			got, err := Parse(raw)
			if err != nil {
				t.Errorf("%s: %s", raw, fault.Report(err))
				continue
			}
			again, err := Parse(got.Raw)
			if err != nil || again != got {
				t.Errorf("%s: its Raw %s reads back as %#v, %v", raw, got.Raw, again, err)
			}
			got.Raw = ""
			if d := cmp.Diff(*want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", raw, d)
			}
		}
	}
}

// A path stays a path, and a URL of anybody else's stays a URL.
func TestNoHubRefs(t *testing.T) {
	t.Parallel()
	for raw, kind := range map[string]Kind{
		"models/m.gguf": File, "./org/repo:Q4_K_M": File, "../org/repo:Q4_K_M": File, "/org/repo:Q4_K_M": File, "org/repo": File, "a/b@2/m.gguf": File, "dir/m@v2.gguf": File, "~/m.gguf": File,
		"https://mirror.example/o/r/resolve/main/m.gguf": HTTP, "https://huggingface.co/datasets/o/r/resolve/main/m.gguf": HTTP, "https://huggingface.co/gpt2/resolve/main/m.gguf": HTTP,
		"https://cdn-lfs.huggingface.co/o/r/m.gguf": HTTP, "https://huggingface.co:8443/o/r/resolve/main/m.gguf": HTTP, "https://huggingface.co.evil.example/o/r/blob/main/m.gguf": HTTP,
	} {
		if got, err := Parse(raw); err != nil || got.Kind != kind {
			t.Errorf("%s: kind %d, %v, want %d", raw, got.Kind, err, kind)
		}
	}
}

// A word that is no model is refused in words that say why.
func TestWrongHubRefs(t *testing.T) {
	t.Parallel()
	for raw, why := range map[string]string{
		"hf://datasets/o/r":    "datasets are not models",
		"hf:repo":              "not a repository",
		"hf:o/r:Q4:Q8":         "two quantisations",
		"hf:o/r@a@b":           "two revisions",
		"hf:o/r:Q4_K_M/m.gguf": "both a quantisation and a file",
		"hf:o/r:m.gguf/n.gguf": "two files",
		"hf:o/r/sub/":          "is a folder",
		"hf:o/r?download=true": "no query",
		"https://huggingface.co/o/r/tree/main/Q4_K_M": "is a folder",
		"https://huggingface.co/o/r/discussions/1":    "the page of no model",
		"https://huggingface.co/o":                    "the page of no model",
		"https://www.modelscope.cn/models/o":          "the page of no model",
		"git://o/r":                                   `cannot begin with "git://"`,
	} {
		_, err := Parse(raw)
		if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", raw, err, why)
		}
	}
}

func TestFileURLs(t *testing.T) {
	t.Parallel()
	for raw, path := range map[string]string{
		"file:///a/my%20model.gguf": "/a/my model.gguf", "file://localhost/a/%E6%A8%A1.gguf": "/a/模.gguf", "FILE:///a/m.gguf": "/a/m.gguf", "file:///a/100%25.gguf": "/a/100%.gguf",
		"file:a%20b.gguf": "a%20b.gguf", "file:///a/m.gguf" + "  ": "/a/m.gguf", "file:///a/m%20": "/a/m ", "/a/100%.gguf": "/a/100%.gguf",
	} {
		if got, err := Parse(raw); err != nil || got.Kind != File || got.Path != path {
			t.Errorf("%s: %q, %v, want %q", raw, got.Path, err, path)
		}
	}
	for raw, why := range map[string]string{
		"file:///a/100%.gguf": "%25", "file://./m.gguf": "file:PATH", "file:///a%0Ab": "control characters", "file:///a%00b": "control characters", "file://host": "file:///PATH",
	} {
		if _, err := Parse(raw); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", raw, err, why)
		}
	}
}

func TestAtEndpoint(t *testing.T) {
	t.Parallel()
	const mirror = "https://mirror.example/hf"
	for raw, want := range map[string]string{
		mirror + "/o/r/resolve/main/m.gguf?download=true":           "hf:o/r/m.gguf",
		"https://MIRROR.example/hf/o/r/blob/v1/a/m.gguf":            "hf:o/r@v1/a/m.gguf",
		mirror + "/o/r/resolve/refs%2Fpr%2F1/m.gguf":                "hf:o/r@refs%2Fpr%2F1/m.gguf",
		mirror + "/o/r/resolve/main/m.gguf#sha256=" + someSum:       "hf:o/r/m.gguf#sha256=" + someSum,
		mirror + "/o/m.gguf":                                        "",
		"https://mirror.example/o/r/resolve/main/m.gguf":            "",
		"http://mirror.example/hf/o/r/resolve/main/m.gguf":          "",
		"https://mirror.example.evil/hf/o/r/resolve/main/m.gguf":    "",
		"https://mirror.example:8443/hf/o/r/resolve/main/m.gguf":    "",
		mirror + "/o/r/resolve/main":                                "",
		mirror + "/o/r/commits/main/m.gguf":                         "",
		"https://mirror.example/hf2/o/r/resolve/main/m.gguf":        "",
		"https://mirror.example/hf/o/r--x/resolve/main/a/../m.gguf": "",
	} {
		got, ok := parse(t, raw).AtEndpoint(mirror)
		if ok != (want != "") || got.Raw != want {
			t.Errorf("%s: %q, %t, want %q", raw, got.Raw, ok, want)
		}
		if ok {
			if again := parse(t, got.Raw); again != got {
				t.Errorf("%s reads back as %#v", got.Raw, again)
			}
		}
	}
}

func TestAsHub(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"org/repo": "hf:org/repo", "org/repo/m.gguf": "hf:org/repo/m.gguf", "org/repo@v1/a/m.gguf": "hf:org/repo@v1/a/m.gguf",
		"m.gguf": "", "models/m.gguf": "", "/org/repo": "", "./org/repo": "", "a/b/c": "",
	} {
		if got, ok := AsHub(path); ok != (want != "") || ok && got.Raw != want {
			t.Errorf("%s: %q, %t, want %q", path, got.Raw, ok, want)
		}
	}
}
