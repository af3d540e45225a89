package model

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestOwnFile(t *testing.T) {
	t.Parallel()
	dir, want := t.TempDir(), aModel(size, 31)
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := write("m.gguf", want)
	big := append([]byte("GGUF\x00\x00\x00\x03"), want[8:100]...)
	for ref, fails := range map[string][]string{
		good:                                     nil,
		"file:" + good:                           nil,
		good + "#sha256=" + sum(want):            nil,
		good + "#sha256=" + someSum:              {someSum, sum(want)},
		filepath.Join(dir, "none.gguf"):          {"no such file", "hf:ORG/REPO"},
		dir:                                      {"a folder"},
		"/dev/null":                              {"not a regular file"},
		write("page", []byte("<!doctype html>")): {"HTML page"},
		write("empty", nil):                      {"empty"},
		write("short", []byte("GGUF")):           {"only 4 bytes"},
		write("text", []byte("hello, this is text")):                       {"not a GGUF file"},
		write("lfs", []byte("version https://git-lfs.github.com/spec/v1")): {"Git LFS pointer"},
		write("json", []byte(`{"error":"x"}`)):                             {"JSON"},
		write("st", []byte("\x10\x00\x00\x00\x00\x00\x00\x00{\"a\":1}")):   {"safetensors"},
		write("big", big): {"big-endian"},
		write("v1", []byte("GGUF\x01\x00\x00\x00....")): {"version 1"},
	} {
		r := newRig(t)
		l, err := r.fetch(t, ref)
		if fails != nil {
			wantFault(t, err, fault.Model, fails...)
		} else {
			if err != nil {
				t.Errorf("%s: %v", ref, err)
			}
			if l.Path != good || l.Dir != "" || l.Size != size {
				t.Errorf("%s: %+v", ref, l)
			}
			if l.SHA256 != sum(want) {
				t.Errorf("%s: hash %q", ref, l.SHA256)
			}
		}
		if left := tree(t, r.Store.Dir()); len(left) > 0 {
			t.Errorf("%s: a user's own file made a store: %q", ref, left)
		}
	}
}
