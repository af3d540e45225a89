package model

import (
	"fmt"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// Update says what becomes of a model that is here while its source may have a newer one.
type Update string

// The updates. The zero value is UpdateAlways.
const (
	// UpdateAlways takes what a ref means now.
	UpdateAlways Update = "always"
	// UpdateCheck uses what is here, and says where there is something newer.
	UpdateCheck Update = "check"
	// UpdateNever uses what is here and asks nobody. What is not here is fetched.
	UpdateNever Update = "never"
)

// ParseUpdate reads an update. The error is a Usage fault.
func ParseUpdate(word string) (Update, error) {
	switch u := Update(word); u {
	case "", UpdateAlways:
		return UpdateAlways, nil
	case UpdateCheck, UpdateNever:
		return u, nil
	}
	return "", fault.New(fault.Usage, fmt.Sprintf("`model-update` must be always, check or never, got %q", word), nil, "use always to take a newer model, check to be told of one, never to ask nobody")
}

// keeps reports whether what is here is used even where there is something newer.
func (u Update) keeps() bool { return u == UpdateCheck || u == UpdateNever }

// keepsEarlier reports whether the earlier answer is to be used though the source gave
// one, and says so where that one is another.
func (f *Fetcher) keepsEarlier(old earlier, same bool) bool {
	if !old.have || f.Environment.Update != UpdateCheck {
		return false
	}
	if !same {
		task := f.begin("keep what is here", 0)
		task.Note("there is something newer than " + old.name + ", which is used; LLORCH_MODEL_UPDATE=always takes it")
		task.End(nil)
	}
	return true
}

// isSame reports whether a source's answer has the content that the store has of a file.
func isSame(d store.Folder, commit, file string, src source) bool {
	blob, _, ok := d.Stored(commit, file)
	return ok && (src.commit == commit || src.blob == blob)
}
