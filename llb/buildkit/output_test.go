package buildkit

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
)

type nothing struct{ io.Writer }

func (nothing) Close() error { return nil }

// Each tag is pushed once, and no registry is spoken to without TLS but one that was
// named, whatever else is pushed to.
func TestOutputExports(t *testing.T) {
	t.Parallel()
	tags := []string{"docker.io/library/llama:1", "localhost:5000/llama:1", "registry.example.com/a:2", "registry.example.com/b:2"}
	attrs := func(names, insecure string) map[string]string {
		return map[string]string{"compression": "gzip", "name": names, "oci-mediatypes": "true", "push": "true", "registry.insecure": insecure}
	}
	for name, c := range map[string]struct {
		out  Output
		want []map[string]string
	}{
		"all with TLS": {Output{Push: true}, []map[string]string{attrs("docker.io/library/llama:1,localhost:5000/llama:1,registry.example.com/a:2,registry.example.com/b:2", "false")}},
		"one without": {
			Output{Push: true, Insecure: []string{"localhost:5000", "elsewhere"}},
			[]map[string]string{attrs("docker.io/library/llama:1,registry.example.com/a:2,registry.example.com/b:2", "false"), attrs("localhost:5000/llama:1", "true")},
		},
		"a part of a name is no name": {
			Output{Push: true, Insecure: []string{"localhost", "example.com"}},
			[]map[string]string{attrs("docker.io/library/llama:1,localhost:5000/llama:1,registry.example.com/a:2,registry.example.com/b:2", "false")},
		},
		"an archive": {
			Output{Archive: nothing{&bytes.Buffer{}}},
			[]map[string]string{{"compression": "gzip", "name": "docker.io/library/llama:1,localhost:5000/llama:1,registry.example.com/a:2,registry.example.com/b:2", "oci-mediatypes": "true"}},
		},
	} {
		var got []map[string]string
		for _, e := range c.out.exports(tags) {
			got = append(got, e.Attrs)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// An engine with graphdrivers gives an image to itself alone, which is said before
// anything is built.
func TestTakesOutput(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		out      Output
		embedded bool
		refused  bool
	}{
		"into the engine":         {Output{}, true, false},
		"a push by an engine":     {Output{Push: true}, true, true},
		"an archive by an engine": {Output{Archive: nothing{}}, true, true},
		"a push by another":       {Output{Push: true}, false, false},
	} {
		d := serve(t, &daemon{})
		dial := d.dial
		if c.embedded {
			dial = d.embed
		}
		err := dial(t).Takes(t.Context(), Caches{}, c.out)
		if (err != nil) != c.refused || c.refused && fault.ClassOf(err) != fault.Machine {
			t.Errorf("%s: %v", name, err)
		}
	}
}
