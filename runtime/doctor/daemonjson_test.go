package doctor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestMergeDaemonJSON(t *testing.T) {
	t.Parallel()
	buildkit := map[string]any{"features": map[string]any{"buildkit": true}}
	for _, tc := range []struct {
		name, old, want string
		changes         map[string]any
		same            bool
		refused         string
	}{
		{name: "no file", changes: buildkit, want: `{"features":{"buildkit":true}}`},
		{name: "empty file", old: " \n", changes: buildkit, want: `{"features":{"buildkit":true}}`},
		{
			name: "unknown keys stay", changes: buildkit,
			old:  `{"x-new":{"a":[1,{"b":null}]},"features":{"cdi":true},"max":12345678901234567890,"s":"<&>"}`,
			want: `{"x-new":{"a":[1,{"b":null}]},"features":{"cdi":true,"buildkit":true},"max":12345678901234567890,"s":"<&>"}`,
		},
		{name: "there already, in another order", old: `{ "features": {"buildkit": true, "a": 1}, "b": 2 }`, changes: buildkit, same: true},
		{name: "numbers compare by value as written", old: `{"mtu": 1400}`, changes: map[string]any{"mtu": 1400}, same: true},
		{name: "another kind of value is replaced", old: `{"features":"none"}`, changes: buildkit, want: `{"features":{"buildkit":true}}`},
		{name: "a byte order mark", old: "\xef\xbb\xbf{}", changes: buildkit, want: `{"features":{"buildkit":true}}`},
		{name: "no JSON", old: `{"debug": true,}`, changes: buildkit, refused: "invalid JSON"},
		{name: "two objects", old: `{} {}`, changes: buildkit, refused: "data follows"},
		{name: "a list", old: `[]`, changes: buildkit, refused: "invalid JSON object"},
		{name: "null", old: `null`, changes: buildkit, refused: "null"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, changed, err := MergeDaemonJSON([]byte(tc.old), tc.changes)
			if tc.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refused) || fault.ClassOf(err) != fault.Machine || got != nil {
					t.Fatalf("got %q, %v; want a refusal with %q", got, err, tc.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if changed == tc.same {
				t.Errorf("changed is %v", changed)
			}
			if tc.same {
				if string(got) != tc.old {
					t.Errorf("nothing to change, yet it became %s", got)
				}
				return
			}
			if diff := cmp.Diff(compact(t, tc.want), compact(t, string(got))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// compact is JSON with sorted keys and its numbers as written.
func compact(t *testing.T, text string) string {
	t.Helper()
	config, err := parseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestMergeConfigFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real.json"), filepath.Join(dir, "daemon.json")
	const first = `{"debug":false}`
	if err := os.WriteFile(real, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.json", link); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, true} {
		changes := map[string]any{"debug": i < 2}
		changed, err := mergeConfigFile(link, changes)
		if err != nil || changed != want {
			t.Fatalf("change %d: %v, %v", i, changed, err)
		}
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link became a file (%v)", err)
	}
	if info, err := os.Stat(real); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its permissions became %v (%v)", info.Mode(), err)
	}
	if raw, err := os.ReadFile(real + ".bak"); err != nil || string(raw) != first {
		t.Errorf("the backup is %q (%v), not the first original", raw, err)
	}
	if err := os.WriteFile(real, []byte("{oops"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := mergeConfigFile(link, map[string]any{"a": 1}); fault.ClassOf(err) != fault.Machine {
		t.Errorf("got %v, want a refusal", err)
	}
	if raw, _ := os.ReadFile(real); string(raw) != "{oops" {
		t.Errorf("a file that was refused became %q", raw)
	}
}
