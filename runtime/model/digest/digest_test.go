package digest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	hello    = "hello\n"
	helloSHA = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	// helloGit is what `git hash-object` prints.
	helloGit = "ce013625030ba8dba906f756967f9e9ca394464a"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want Want
		kind string
	}{
		"nothing promised": {Want{}, ""},
		"both right":       {Want{helloSHA, helloGit}, ""},
		"wrong SHA-256":    {Want{SHA256: strings.Repeat("0", 64)}, "SHA-256"},
		"wrong git hash":   {Want{Git: strings.Repeat("0", 40)}, "git hash"},
	} {
		h := New(int64(len(hello)))
		_, _ = h.Write([]byte(hello))
		err := h.Verify(c.want)
		var m *MismatchError
		if errors.As(err, &m) != (c.kind != "") || m != nil && m.Kind != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	p := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(p, []byte(hello), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"": helloSHA, helloSHA: helloSHA, helloGit: helloGit} {
		var seen int64
		got, err := File(t.Context(), p, name, int64(len(hello)), func(n int64) { seen = n })
		if err != nil || got != want || seen != int64(len(hello)) {
			t.Errorf("named %q: %s after %d bytes, %v; want %s", name, got, seen, err, want)
		}
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := File(ctx, p, "", 0, func(int64) {}); !errors.Is(err, stop) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := File(t.Context(), p+"x", "", 0, func(int64) {}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
