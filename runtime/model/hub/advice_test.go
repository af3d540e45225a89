package hub

import (
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// An advice follows from what the hub said, and names nothing that is not its cause.
func TestAdvice(t *testing.T) {
	t.Parallel()
	r, err := ref.Parse("hf:org/repo@v1/m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	const token, account = "HF_TOKEN", "accept the conditions"
	for name, c := range map[string]struct {
		e             transfer.StatusError
		hasToken      bool
		says, saysNot []string
	}{
		"gated, no token":       {transfer.StatusError{Code: 401, Reason: gated}, false, []string{account, "set " + token}, nil},
		"gated, no access":      {transfer.StatusError{Code: 403, Reason: gated}, true, []string{account}, []string{token}},
		"missing or private":    {transfer.StatusError{Code: 401, Reason: missingRepo}, false, []string{"check the name", "set " + token}, nil},
		"missing, with a token": {transfer.StatusError{Code: 404, Reason: missingRepo}, true, []string{"check the name", "check that " + token}, nil},
		"missing revision":      {transfer.StatusError{Code: 404, Reason: missingRevision}, true, []string{`"v1"`}, []string{token}},
		"missing file":          {transfer.StatusError{Code: 404, Reason: missingFile}, true, []string{"check the file's name"}, []string{token}},
		"bad token":             {transfer.StatusError{Code: 401, Detail: "Invalid credentials in Authorization header"}, true, []string{"not valid", token}, []string{"check the name"}},
		"disabled":              {transfer.StatusError{Code: 403, Detail: "Access to this resource is disabled."}, false, []string{"taken offline"}, []string{token}},
		"404 by a mirror":       {transfer.StatusError{Code: 404, Host: "mirror"}, false, []string{"check the name"}, []string{token}},
		"403 by a gateway":      {transfer.StatusError{Code: 403, Host: "mirror"}, false, []string{"mirror", "HF_ENDPOINT"}, []string{token}},
		"403 where it is kept":  {transfer.StatusError{Code: 403, Host: "cdn", Redirected: true}, false, []string{"cdn", "later"}, []string{token, "HF_ENDPOINT"}},
		"404 where it is kept":  {transfer.StatusError{Code: 404, Host: "cdn", Redirected: true}, false, []string{"cdn", "proxy"}, []string{token, "HF_ENDPOINT"}},
		"too many":              {transfer.StatusError{Code: 429}, false, []string{"wait", token}, nil},
		"too many for a token":  {transfer.StatusError{Code: 429}, true, []string{"wait"}, []string{token}},
		"5xx":                   {transfer.StatusError{Code: 502}, false, []string{"later"}, []string{token, "HF_ENDPOINT"}},
	} {
		client := &Client{Endpoint: "https://hub.example", EndpointFrom: "HF_ENDPOINT", TokenFrom: token, HasToken: c.hasToken}
		got := client.Advice(r, &c.e)
		for _, w := range c.says {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q lacks %q", name, got, w)
			}
		}
		for _, w := range c.saysNot {
			if strings.Contains(got, w) {
				t.Errorf("%s: %q names %q", name, got, w)
			}
		}
	}
	if got := (&Client{Endpoint: "https://hub.example"}).Advice(r, &transfer.StatusError{Code: 418}); got != "" {
		t.Errorf("an answer that nobody knows: %q", got)
	}
}

func TestNotHubAdvice(t *testing.T) {
	t.Parallel()
	if got := (&Client{Endpoint: "https://huggingface.co"}).NotHubAdvice(); !strings.Contains(got, "login page") || strings.Contains(got, "HF_ENDPOINT") {
		t.Errorf("the public Hub: %q", got)
	}
	if got := (&Client{Endpoint: "http://h", EndpointFrom: "HF_ENDPOINT"}).NotHubAdvice(); !strings.Contains(got, "HF_ENDPOINT is http://h") {
		t.Errorf("another: %q", got)
	}
}

// A hash counts where the listing says of what it is.
func TestAdd(t *testing.T) {
	t.Parallel()
	sha, git := strings.Repeat("ab", 32), strings.Repeat("cd", 20)
	var l Listing
	l.add("lfs", 1, true, sha, git)
	l.add("plain", 2, false, "", git)
	l.add("odd", 3, true, "no hash", git)
	l.add("md5", 4, false, "", strings.Repeat("ef", 16))
	l.add("../escape", 5, true, sha, "")
	l.add("negative", -1, true, sha, "")
	for name, want := range map[string]RemoteFile{
		"lfs": {Path: "lfs", Size: 1, SHA256: sha}, "plain": {Path: "plain", Size: 2, Git: git}, "odd": {Path: "odd", Size: 3}, "md5": {Path: "md5", Size: 4},
	} {
		if got, ok := l.Find(name); !ok || got != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if len(l.Files) != 4 {
		t.Errorf("files: %+v", l.Files)
	}
}
