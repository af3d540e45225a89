package model

import (
	"context"
	"errors"
	"fmt"

	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// errOffline means that a request is needed and forbidden.
var errOffline = errors.New("no network may be asked for it: HF_HUB_OFFLINE is set, or `offline` is given")

// earlier is the answer that the store has from the last time that a source was asked.
type earlier struct {
	// have says that there is one, and that its files are here.
	have bool
	// name is what the answer is called in a note.
	name string
}

// lookUp asks a source what a ref means now. Where the source must not be asked, or does
// not answer, it returns true where the earlier answer is to be used. Ask is called with
// the number of retries and the step that it belongs to.
func (f *Fetcher) lookUp(ctx context.Context, name string, old earlier, ask func(retries uint64, task Task) error) (useEarlier bool, err error) {
	if f.Environment.Offline && !old.have {
		return false, errOffline
	}
	task := f.begin("look up "+name, 0)
	if f.Environment.Offline || old.have && f.Environment.Update == UpdateNever {
		why := "offline"
		if !f.Environment.Offline {
			why = "not asked for a newer one"
		}
		task.Note(why + ": using " + old.name)
		task.End(nil)
		return true, nil
	}
	err = ask(f.retries(old.have), task)
	if err != nil && old.have && transfer.IsTransient(err) && ctx.Err() == nil {
		task.Note(fmt.Sprintf("%v; using %s", err, old.name))
		task.End(nil)
		return true, nil
	}
	task.End(err)
	return false, err
}

// retries is how often a source is asked again. With something to fall back on, nobody
// wants to wait long.
func (f *Fetcher) retries(haveEarlier bool) uint64 {
	if haveEarlier {
		return 1
	}
	return transfer.AskRetries
}
