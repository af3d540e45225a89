package compare_test

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/llorch/llorch-bk/llb/compare"
)

type entry struct {
	name, content, link string
	mode                int64
	uid                 int
	time                time.Time
}

// layer packs entries; level is the compression's.
func layer(t *testing.T, level int, entries ...entry) v1.Layer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644 | e.mode, Uid: e.uid, Size: int64(len(e.content)), ModTime: e.time, Typeflag: tar.TypeReg}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil }, tarball.WithCompressionLevel(level))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// image has layers that its history names.
func image(t *testing.T, config v1.Config, layers map[string]v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.Config(empty.Image, config)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"runtime", "ggml", "program"} {
		if l, ok := layers[name]; ok {
			if img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "[image] " + name}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return img
}

func TestImages(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0).UTC()
	file := func(name string, change func(*entry)) entry {
		e := entry{name: name, content: "content of " + name, time: at}
		if change != nil {
			change(&e)
		}
		return e
	}
	base := func() map[string]v1.Layer {
		return map[string]v1.Layer{"runtime": layer(t, 6, file("lib/libc.so", nil)), "ggml": layer(t, 6, file("app/a", nil), file("app/b", nil))}
	}
	for name, c := range map[string]struct {
		layers func(map[string]v1.Layer)
		config v1.Config
		want   []string
	}{
		"the same": {nil, v1.Config{}, nil},
		"a byte": {
			func(l map[string]v1.Layer) {
				l["ggml"] = layer(t, 6, file("app/a", func(e *entry) { e.content = "x" + e.content[1:] }), file("app/b", nil))
			},
			v1.Config{},
			[]string{"ggml: app/a: content"},
		},
		"a time, a mode and an owner": {
			func(l map[string]v1.Layer) {
				l["ggml"] = layer(t, 6, file("app/a", func(e *entry) { e.time = at.Add(time.Hour) }), file("app/b", func(e *entry) { e.mode, e.uid = 0o111, 7 }))
			},
			v1.Config{},
			[]string{"ggml: app/a: time", "ggml: app/b: mode", "ggml: app/b: owner"},
		},
		"a link": {
			func(l map[string]v1.Layer) {
				l["ggml"] = layer(t, 6, file("app/a", func(e *entry) { e.link, e.content = "b", "" }), file("app/b", nil))
			},
			v1.Config{},
			[]string{"ggml: app/a: content"},
		},
		"a file more and a file less": {
			func(l map[string]v1.Layer) { l["ggml"] = layer(t, 6, file("app/a", nil), file("app/c", nil)) },
			v1.Config{},
			[]string{"ggml: app/b: missing", "ggml: app/c: missing"},
		},
		"another order": {
			func(l map[string]v1.Layer) { l["ggml"] = layer(t, 6, file("app/b", nil), file("app/a", nil)) },
			v1.Config{},
			[]string{"ggml: app/a: order"},
		},
		"packed otherwise": {
			func(l map[string]v1.Layer) { l["ggml"] = layer(t, 1, file("app/a", nil), file("app/b", nil)) },
			v1.Config{},
			[]string{"ggml: compression"},
		},
		"a layer more": {
			func(l map[string]v1.Layer) { l["program"] = layer(t, 6, file("app/p", nil)) },
			v1.Config{},
			// Its history has one more as well.
			[]string{"program: missing", "history.2.created: config", "history.2.created_by: config"},
		},
		"a setting": {nil, v1.Config{User: "root"}, []string{"config.User: config"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, changed := base(), base()
			if c.layers != nil {
				c.layers(changed)
			}
			got, err := compare.Images(image(t, v1.Config{}, a), image(t, c.config, changed))
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			for _, d := range got {
				line := string(d.Kind)
				for _, s := range []string{d.File, d.Layer} {
					if s != "" {
						line = s + ": " + line
					}
				}
				said = append(said, line)
				if len(d.String()) < len(line) {
					t.Errorf("%q says less than %q", d, line)
				}
			}
			slices.Sort(said)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, said); diff != "" {
				t.Error(diff)
			}
		})
	}
}
