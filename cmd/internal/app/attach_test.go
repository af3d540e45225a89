package app

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/model"
)

// folderWith is a folder with files that have their names as content.
func folderWith(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sha(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func TestAttach(t *testing.T) {
	dir := folderWith(t, "t.jinja", "a.gguf", "a, b:c.gguf", "d-00001-of-00002.gguf", "d-00002-of-00002.gguf", "m-00001-of-00009.gguf", "key")
	t.Chdir(dir)
	a, words, err := attach([]string{
		"--chat-template-file", "t.jinja", "--lora-scaled=a.gguf:0.5", "--lora", "a, b:c.gguf", "-md", "d-00001-of-00002.gguf", "--mmproj", dir + "/a.gguf",
		"--control-vector", "m-00001-of-00009.gguf", "--api-key-file", "key", "--media-path", ".", "--slot-save-path", "/some/slots", "--log-file", "logs/server.log", "--jinja",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"--chat-template-file", "/files/0/t.jinja", "--lora-scaled", "/files/1/a.gguf:0.5", "--lora", "/files/2/a__b_c.gguf", "-md", "/files/3/d-00001-of-00002.gguf", "--mmproj", "/files/1/a.gguf",
		"--control-vector", "/files/4/m-00001-of-00009.gguf", "--api-key-file", "/files/5/key", "--media-path", "/files/6/" + plainName(filepath.Base(dir)), "--slot-save-path", "/state/slot-save-path",
		"--log-file", "/state/log-file/server.log", "--jinja",
	}
	if d := cmp.Diff(want, words); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]engine.Volume{{Name: "slot-save-path"}, {Name: "log-file"}}, a.volumes); d != "" {
		t.Errorf("volumes (-want +got):\n%s", d)
	}
	byPath := map[string]engine.File{}
	for _, f := range a.files {
		byPath[f.Path] = f
	}
	if len(byPath) != 8 || byPath["/files/3/d-00002-of-00002.gguf"].Host != filepath.Join(dir, "d-00002-of-00002.gguf") {
		t.Errorf("files: %+v", a.files)
	}
	if f := byPath["/files/0/t.jinja"]; f.Digest != "sha256:"+sha("t.jinja") {
		t.Errorf("the template's digest is %s", f.Digest)
	}
	// The hash of a weak secret gives it away, so it stands nowhere.
	if f := byPath["/files/5/key"]; !f.Secret || f.Digest == "" || strings.Contains(f.Digest, sha("key")) {
		t.Errorf("the key: %+v", f)
	}
	spec := engine.Spec{Files: a.files, Volumes: a.volumes}
	if err := spec.Validate(); strings.Contains(err.Error(), "for the server") {
		t.Error(err)
	}
}

func TestAttachRefuses(t *testing.T) {
	dir := folderWith(t, "a.gguf", "d-00001-of-00003.gguf", "d-00002-of-00003.gguf")
	t.Chdir(dir)
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"--mmproj absent.gguf":                `--mmproj "absent.gguf" cannot be given to the server: there is no such file`,
		"-md=absent.gguf":                     `-md "absent.gguf"`,
		"--lora a.gguf,absent.gguf":           `--lora "absent.gguf"`,
		"--lora-scaled absent.gguf:1":         `--lora-scaled "absent.gguf"`,
		"--grammar_file absent.gbnf":          `--grammar_file "absent.gbnf"`,
		"--json-schema-file .":                "it is a folder",
		"--chat-template-file pipe":           "no regular file",
		"--media-path a.gguf":                 "it is no folder",
		"--models-dir absent":                 `--models-dir "absent"`,
		"--log-file .":                        "it names no file",
		"--model-draft d-00001-of-00003.gguf": "there is no d-00003-of-00003.gguf beside it",
		"--ssl-key-file a --ssl-cert-file b":  `--ssl-cert-file "b"`,
	} {
		_, _, err := attach(strings.Fields(words))
		if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a fault.Usage with %q", words, err, want)
		}
	}
}

// A file whose content changed makes another run, and so does a secret that was
// written anew.
func TestAttachedContentCounts(t *testing.T) {
	dir := folderWith(t, "t.jinja", "key")
	t.Chdir(dir)
	opt := options(t.TempDir())
	opt.Server = []string{"--chat-template-file", "t.jinja", "--api-key-file", "key"}
	run := func() string {
		r, err := check(opt)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := r.specOf(imageOf{ID: "sha256:1"}, model.Local{Path: "/m.gguf"})
		if err != nil {
			t.Fatal(err)
		}
		return spec.RunDigest()
	}
	first := run()
	if run() != first {
		t.Error("the same is another run")
	}
	for name, content := range map[string]string{"t.jinja": "T.jinja", "key": "another"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		next := run()
		if next == first {
			t.Errorf("%s changed, and it is the same run", name)
		}
		first = next
	}
}

// The handoff says what the paths in the flags are on the host.
func TestHandoffNamesFiles(t *testing.T) {
	t.Parallel()
	r := checkedRun{ref: model.Ref{Raw: "m"}, attached: attached{files: []engine.File{{Host: "/h/t", Path: "/files/0/t", Digest: "sha256:1"}}}}
	s := instance(llama(t, nil), runLabels(r, "", "", []string{"--chat-template-file", "/files/0/t"}))
	h, err := describe(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]handoff.File{{Path: "/h/t", ServerPath: "/files/0/t"}}, h.Files); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
