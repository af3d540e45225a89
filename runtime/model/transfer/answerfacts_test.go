package transfer

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// Only what tells any two versions of a file apart is a validator.
func TestValidator(t *testing.T) {
	t.Parallel()
	const old, now = "Thu, 01 Jan 2026 11:00:00 GMT", "Thu, 01 Jan 2026 12:00:00 GMT"
	for name, c := range map[string]struct {
		etag, modified, date, want string
	}{
		"strong ETag":               {`"a"`, "", "", `"a"`},
		"both":                      {`"a"`, old, now, `"a"`},
		"weak ETag":                 {`W/"a"`, "", "", ""},
		"weak ETag beside a date":   {`W/"a"`, old, now, ""},
		"ETag without quotes":       {"a", "", "", ""},
		"old date":                  {"", old, now, old},
		"date of the same second":   {"", now, now, ""},
		"date 59 seconds ago":       {"", "Thu, 01 Jan 2026 11:59:01 GMT", now, ""},
		"date without the server's": {"", old, "", ""},
		"date in the future":        {"", now, old, ""},
		"no date":                   {"", "yesterday", now, ""},
		"nothing":                   {"", "", now, ""},
	} {
		h := http.Header{}
		for field, v := range map[string]string{"ETag": c.etag, "Last-Modified": c.modified, "Date": c.date} {
			if v != "" {
				h.Set(field, v)
			}
		}
		if got := validator(h); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestAnsweredSize(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code   int
		length int64
		fields map[string]string
		want   int64
	}{
		"whole":            {200, 7, nil, 7},
		"no length":        {200, -1, nil, -1},
		"range":            {206, 1, map[string]string{"Content-Range": "bytes 0-0/7"}, 7},
		"range, no total":  {206, 1, map[string]string{"Content-Range": "bytes 0-0/*"}, -1},
		"range, unclear":   {206, 1, nil, -1},
		"redirect":         {302, 7, nil, -1},
		"compressed":       {200, 7, map[string]string{"Content-Encoding": "gzip"}, -1},
		"named as it is":   {200, 7, map[string]string{"Content-Encoding": "identity"}, 7},
		"compressed range": {206, 1, map[string]string{"Content-Range": "bytes 0-0/7", "Content-Encoding": "br"}, -1},
	} {
		resp := &http.Response{StatusCode: c.code, ContentLength: c.length, Header: http.Header{}}
		for k, v := range c.fields {
			resp.Header.Set(k, v)
		}
		if got := AnsweredSize(resp); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// The bytes decide what an answer is, and a page is named by its title.
func TestJudgeHead(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"GGUF\x03\x00\x00\x00" + strings.Repeat("x", 600):                          "",
		"<!DOCTYPE html><html><head><title>\n Sign&nbsp;in &amp; go </title>":      `HTML page with the title "Sign in & go"`,
		"<html><head>" + strings.Repeat(" ", 2000) + "<TITLE lang=en>Late</TITLE>": `with the title "Late"`,
		"<html><body>none</body></html>":                                           "it is an HTML page: not a model",
		"<html><title>a\x1b[31mb</title>":                                          `"a[31mb"`,
		"PK\x03\x04 and more of it":                                                "zip archive",
	} {
		in := strings.NewReader(content)
		head, err := gguf.ReadHead(in)
		if err != nil {
			t.Fatal(err)
		}
		err = judgeHead(head, io.MultiReader(bytes.NewReader(head), in))
		switch {
		case want == "" && err != nil:
			t.Errorf("%.20q: %v", content, err)
		case want != "" && (!errors.Is(err, gguf.ErrNotModel) || !strings.Contains(err.Error(), want)):
			t.Errorf("%.20q: %v, want %q", content, err, want)
		}
	}
}

func TestETag(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{`"AB"`: "ab", `W/"ab"`: "ab", "ab": "ab", " " + `"ab"`: "ab", "": ""} {
		if got := ETag(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}
