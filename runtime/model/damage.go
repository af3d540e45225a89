package model

import (
	"errors"
	"fmt"
	"slices"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/store"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// errGone means that another process removed a file of the store that was just found.
var errGone = errors.New("another process removed it from the store")

// noteDamage says why a file that is in the store is fetched again: it is damaged, or is
// not as long as its source says. It says nothing where there is no such file.
func noteDamage(d store.Folder, src source, file string, task Task) {
	if _, size, ok := d.Stored(src.commit, file); ok && !src.fits(size) {
		task.Note(fmt.Sprintf("the file in the store has %d bytes, want %d: it is fetched again", size, src.Size))
		return
	}
	for _, damaged := range d.Damaged() {
		if damaged.Path == d.File(src.commit, file) {
			task.Note(damaged.Error() + ": it is fetched again")
			return
		}
	}
}

// fits reports whether a file has as many bytes as the source says.
func (s source) fits(size int64) bool { return s.Size < 0 || s.Size == size }

// withDamage adds to the error of a model that cannot be fetched that the store has it,
// damaged.
func (f *Fetcher) withDamage(r Ref, err error) error {
	if !errors.Is(err, errOffline) && !transfer.IsTransient(err) {
		return err
	}
	for _, damaged := range f.Store.Folder(r).Damaged() {
		if r.File == "" || slices.Contains(gguf.Shards(r.File), damaged.File) {
			return fmt.Errorf("%w; it has to be fetched again: %w", damaged, err)
		}
	}
	return err
}
