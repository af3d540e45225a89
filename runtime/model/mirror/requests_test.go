package mirror_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/runtime/model/digest"
)

// The answers to single requests, as curl sends them.
func TestRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.hub.Commit(repo)
	if err := s.folder(t).SetRevision("refs/pr/1", commit); err != nil {
		t.Fatal(err)
	}
	etag := `"` + sum(s.content[main4]) + `"`
	at := "/" + repo + "/resolve/main/" + main4
	for _, c := range []struct {
		ask    string
		fields []string
		status int
		code   string
		// body is what is sent, nil where it does not matter.
		body []byte
	}{
		{"GET " + at, nil, 200, "", s.content[main4]},
		{"HEAD " + at, nil, 200, "", []byte{}},
		{"GET " + at, []string{"Range: bytes=0-0"}, 206, "", s.content[main4][:1]},
		{"GET " + at, []string{"Range: bytes=1000-1999"}, 206, "", s.content[main4][1000:2000]},
		{"GET " + at, []string{fmt.Sprintf("Range: bytes=%d-", size-5)}, 206, "", s.content[main4][size-5:]},
		{"GET " + at, []string{"Range: bytes=-7"}, 206, "", s.content[main4][size-7:]},
		{"GET " + at, []string{fmt.Sprintf("Range: bytes=%d-", size)}, 416, "", nil},
		{"GET " + at, []string{"Range: bytes=9-3"}, 416, "", nil},
		{"GET " + at, []string{"Range: bytes=5-9", "If-Range: " + etag}, 206, "", s.content[main4][5:10]},
		{"GET " + at, []string{"Range: bytes=5-9", `If-Range: "other"`}, 200, "", s.content[main4]},
		{"GET " + at, []string{"If-None-Match: " + etag}, 304, "", []byte{}},
		{"GET " + at + "?download=true", nil, 200, "", s.content[main4]},
		{"GET /" + repo + "/resolve/" + commit + "/" + deep8, nil, 200, "", s.content[deep8]},
		{"GET /" + repo + "/resolve/refs%2Fpr%2F1/" + plain, nil, 200, "", s.content[plain]},

		{"GET /org/other/resolve/main/" + main4, nil, 404, "RepoNotFound", nil},
		{"GET /" + repo + "/resolve/v2/" + main4, nil, 404, "RevisionNotFound", nil},
		{"GET /" + repo + "/resolve/" + strings.Repeat("0", 40) + "/" + main4, nil, 404, "RevisionNotFound", nil},
		{"GET /" + repo + "/resolve/main/other.gguf", nil, 404, "EntryNotFound", nil},
		{"GET /" + repo + "/resolve/main/q8", nil, 404, "EntryNotFound", nil},
		{"GET /" + repo + "/resolve/main/..%2F..%2F..%2Fblobs%2F" + sum(s.content[main4]), nil, 404, "EntryNotFound", nil},
		{"GET /" + repo + "/resolve/..%2F..%2Frefs/main", nil, 404, "RevisionNotFound", nil},
		{"GET /..%2F..%2Fetc/passwd/resolve/main/x", nil, 404, "RepoNotFound", nil},
		{"GET /api/models/org/other", nil, 404, "RepoNotFound", nil},
		{"GET /api/models/org/other/tree/main", nil, 404, "RepoNotFound", nil},
		{"GET /api/models/org/other/refs", nil, 404, "RepoNotFound", nil},
		{"GET /api/models/" + repo + "/revision/v2", nil, 404, "RevisionNotFound", nil},
		{"GET /api/models/" + repo + "/tree/main/nowhere", nil, 404, "EntryNotFound", nil},
		{"GET /v2/" + repo + "/manifests/Q2_K", nil, 404, "EntryNotFound", nil},
		{"GET /v2/org/other/manifests/latest", nil, 404, "RepoNotFound", nil},
		{"GET /api/whoami-v2", nil, 404, "", nil},
		{"GET /favicon.ico", nil, 404, "", nil},
		{"PUT " + at, nil, 405, "", nil},
		{"DELETE /api/models/" + repo, nil, 405, "", nil},
		{"POST /api/repos/create", nil, 405, "", nil},
	} {
		method, path, _ := strings.Cut(c.ask, " ")
		resp, body := s.ask(t, method, path, "", c.fields...)
		name := fmt.Sprintf("%s %q", c.ask, c.fields)
		if resp.StatusCode != c.status || resp.Header.Get("X-Error-Code") != c.code {
			t.Errorf("%s: %s %q, want %d %q\n%.300s", name, resp.Status, resp.Header.Get("X-Error-Code"), c.status, c.code, body)
		}
		if c.body != nil && !bytes.Equal(body, c.body) {
			t.Errorf("%s: %d bytes, want %d", name, len(body), len(c.body))
		}
		if len(c.fields) > 0 && c.fields[0] == fmt.Sprintf("Range: bytes=%d-", size) && resp.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) {
			t.Errorf("%s: Content-Range %q", name, resp.Header.Get("Content-Range"))
		}
		if c.status == 404 && (resp.Header.Get("X-Error-Message") == "" || !json.Valid(body)) {
			t.Errorf("%s: it is not explained: %s", name, body)
		}
	}
}

// What a file's headers say is the same whether its bytes are asked for or not.
func TestFileHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	at := "/" + repo + "/resolve/main/"
	for file, etag := range map[string]string{
		main4: sum(s.content[main4]),
		deep8: sum(s.content[deep8]),
		plain: gitHash(t, s.content[plain]),
	} {
		for _, method := range []string{"HEAD", "GET"} {
			resp, _ := s.ask(t, method, at+file, "")
			for field, want := range map[string]string{
				"X-Repo-Commit":  s.hub.Commit(repo),
				"X-Linked-Etag":  `"` + etag + `"`,
				"ETag":           `"` + etag + `"`,
				"X-Linked-Size":  fmt.Sprint(len(s.content[file])),
				"Content-Length": fmt.Sprint(len(s.content[file])),
				"Accept-Ranges":  "bytes",
				"Content-Type":   "application/octet-stream",
			} {
				if got := resp.Header.Get(field); got != want {
					t.Errorf("%s %s: %s is %q, want %q", method, file, field, got, want)
				}
			}
		}
	}
	if resp, _ := s.ask(t, "HEAD", at+"none.gguf", ""); resp.Header.Get("X-Repo-Commit") != s.hub.Commit(repo) {
		t.Error("a missing file's answer does not name the commit")
	}
}

func gitHash(t *testing.T, content []byte) string {
	t.Helper()
	h := digest.New(int64(len(content)))
	_, _ = h.Write(content)
	return h.Git()
}

// What nobody verified, what is not whole, and what is not in the store is not offered.
func TestOnlyVerified(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d, commit := s.folder(t), s.hub.Commit(repo)
	put := func(blob string, content []byte) {
		if err := os.WriteFile(d.Blob(blob), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A server's word that has the length of a git hash.
	word := digest.NameOf("W/v1")
	put(word, []byte("GGUF of a server without hashes"))
	put("word", []byte("GGUF of nobody knows where"))
	link := strings.Repeat("12", 32)
	if err := os.Symlink(outside, d.Blob(link)); err != nil {
		t.Fatal(err)
	}
	gone := strings.Repeat("34", 32)
	for file, blob := range map[string]string{"unhashed.gguf": word, "named.gguf": "word", "link.gguf": link, "gone.gguf": gone} {
		if err := d.Link(commit, file, blob); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"unhashed.gguf", "named.gguf", "link.gguf", "gone.gguf"} {
		resp, body := s.ask(t, "GET", "/"+repo+"/resolve/main/"+file, "")
		if resp.StatusCode < 400 || bytes.Contains(body, []byte("GGUF")) || bytes.Contains(body, []byte("secret")) {
			t.Errorf("%s: %s %q", file, resp.Status, body)
		}
	}
	var entries []struct{ Path string }
	s.into(t, "/api/models/"+repo+"/tree/main?recursive=true", &entries)
	for _, e := range entries {
		if e.Path == "unhashed.gguf" || e.Path == "named.gguf" || e.Path == "gone.gguf" {
			t.Errorf("%s is listed", e.Path)
		}
	}
}

// Each request is reported, without what is secret in it.
func TestRequestsAreSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ask(t, "GET", "/"+repo+"/resolve/main/"+main4+"?token=secret", "", "Range: bytes=10-19", "Authorization: Bearer secret", "User-Agent: curl/8")
	s.ask(t, "GET", "/"+repo+"/resolve/main/other", "")
	s.Close() // waits for what is being answered
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) != 2 {
		t.Fatalf("seen: %+v", s.seen)
	}
	first := s.seen[0]
	if first.Status != http.StatusPartialContent || first.Bytes != 10 || first.Range != "bytes=10-19" || first.Agent != "curl/8" ||
		first.Method != http.MethodGet || first.Path != "/"+repo+"/resolve/main/"+main4 || first.Remote != "127.0.0.1" || first.Time.IsZero() {
		t.Errorf("seen: %+v", first)
	}
	if s.seen[1].Status != http.StatusNotFound {
		t.Errorf("seen: %+v", s.seen[1])
	}
	if text, _ := json.Marshal(s.seen); bytes.Contains(text, []byte("secret")) {
		t.Errorf("a secret was reported: %s", text)
	}
}
