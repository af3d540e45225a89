package hub

import (
	"net/url"
	"testing"

	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

func TestNextPage(t *testing.T) {
	t.Parallel()
	at, _ := url.Parse("https://h.example/api/tree")
	for link, want := range map[string]string{
		"":                                      "",
		`<https://h.example/x?c=1>; rel="next"`: "https://h.example/x?c=1",
		`<https://h.example:443/x>; rel=next`:   "https://h.example:443/x",
		`</p>; rel="prev", </x?c=2>; title="a"; rel="next"`:  "https://h.example/x?c=2",
		`<https://h.example/first>; rel="first"`:             "",
		`<https://evil.example/x>; rel="next"`:               "error",
		`<http://h.example/x>; rel="next"`:                   "error",
		`<https://h.example.evil.example/x?c=1>; rel="next"`: "error",
		`<https://h.example@evil.example/x?c=1>; rel="next"`: "error",
	} {
		got, err := nextPage(link, at)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", link, got, want)
		}
	}
}

// A page's successor never leads the token to another host.
func FuzzNextPage(f *testing.F) {
	for _, s := range []string{
		`<https://hub.example/api?cursor=a>; rel="next"`, `</api?cursor=b>; rel=next, <https://x/>; rel=prev`, `<https://evil.example/>; rel="next"`,
		`<//evil.example/a>; rel="next"`, `<>; rel="next"`, `<a`, `<\x00>; rel=next`, `<http://hub.example/>; rel="next"`, `<https://hub.example:444/>; rel="next"`,
	} {
		f.Add(s)
	}
	asked, err := url.Parse("https://hub.example/api/models/o/n/tree/main")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, link string) {
		next, err := nextPage(link, asked)
		if err != nil || next == "" {
			return
		}
		u, err := url.Parse(next)
		if err != nil || !transfer.SameOrigin(u, asked) {
			t.Fatalf("%q leads to %q: %v", link, next, err)
		}
	})
}
