package hub

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// tiny has a split model, a small and a large one, and a projector larger than the small.
var tiny = Listing{Files: []RemoteFile{
	{Path: "README.md", Size: 9},
	{Path: "m-Q2_K.gguf", Size: 20},
	{Path: "m-Q8_0.gguf", Size: 80},
	{Path: "mmproj-F16.gguf", Size: 50},
	{Path: "s/m-Q4_K_M-00001-of-00002.gguf", Size: 30},
	{Path: "s/m-Q4_K_M-00002-of-00002.gguf", Size: 10},
}}

func TestLargest(t *testing.T) {
	t.Parallel()
	for most, want := range map[int64]string{
		19: "", 20: "m-Q2_K.gguf", 39: "m-Q2_K.gguf", 40: "s/m-Q4_K_M-00001-of-00002.gguf", 79: "s/m-Q4_K_M-00001-of-00002.gguf", 80: "m-Q8_0.gguf",
	} {
		if got := tiny.Largest(most); got != want {
			t.Errorf("of %d bytes: %q, want %q", most, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string][]string{
		"*q8_0*": {"m-Q8_0.gguf"}, "m-*-00002-*": {"s/m-Q4_K_M-00002-of-00002.gguf"}, "s/*-00001-of-*": {"s/m-Q4_K_M-00001-of-00002.gguf"}, "*Q6*": nil,
	} {
		if got := tiny.Match(pattern); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	refused := &transfer.StatusError{Code: 404, Reason: "EntryNotFound"}
	if !IsMissingFile(refused) || !IsMissingFile(&transfer.StatusError{Code: 404}) || IsMissingFile(&transfer.StatusError{Code: 404, Reason: "RepoNotFound"}) {
		t.Error("a missing file is taken for a missing repository, or the reverse")
	}
	err := tiny.Missing("m-Q8_1.gguf", refused)
	var missing *MissingFileError
	if !errors.As(err, &missing) || !errors.Is(err, refused) || !strings.Contains(missing.Advice(), "nearest first: m-Q8_0.gguf") {
		t.Errorf("%v: %s", err, missing.Advice())
	}
	var none *MissingFileError
	if got := tiny.Missing("m-Q8_0.gguf", refused); errors.As(got, &none) || !errors.Is(got, refused) {
		t.Errorf("a file that is there: %v", got)
	}
	if got := (Listing{}).Advice("m.gguf"); !strings.Contains(got, "no .gguf file") {
		t.Errorf("an empty repository: %s", got)
	}
}
