package buildkit

import (
	"testing"
	"time"
)

// A source that the builder fetches itself has no time that is known here; its document
// has one all the same, without which it is no SPDX document.
func TestDocumentsHaveATime(t *testing.T) {
	t.Parallel()
	commit := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := created(commit); !got.Equal(commit) {
		t.Errorf("a document of a commit of %s has the time %s", commit, got)
	}
	before := time.Now().Add(-time.Second)
	if got := created(time.Time{}); got.Before(before) || got.Location() != time.UTC || got.Nanosecond() != 0 {
		t.Errorf("a document of no known commit has the time %s", got)
	}
}
