package store

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/llorch/llorch-bk/runtime/model/disk"
)

// givenUpAfter is the time without progress after which a download counts as given up.
const givenUpAfter = 7 * 24 * time.Hour

// unseenAfter is the time after which a whole blob counts as given up that no snapshot
// shows: the files of one model can take long to come, and are shown together.
const unseenAfter = 24 * time.Hour

// Partial is a download of this program that is not finished.
type Partial struct {
	Path string `json:"path"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Changed is when it last grew; of a whole one, when it came.
	Changed time.Time `json:"changed"`
	// Whole says that the bytes are all there and no model has them: the process that
	// fetched them was killed, or the model was removed meanwhile.
	Whole bool `json:"whole,omitempty"`

	folder Folder
	blob   string
}

// givenUp reports whether nobody goes on with a download.
func (p Partial) givenUp(now time.Time) bool {
	if p.Whole {
		return now.Sub(p.Changed) > unseenAfter
	}
	return now.Sub(p.Changed) > givenUpAfter
}

// Partials are the downloads of this program that are not finished. Another tool's are not
// among them.
func (s *Store) Partials() ([]Partial, error) {
	all, err := s.folders()
	if err != nil {
		return nil, err
	}
	var out []Partial
	for _, d := range all {
		r := d.record()
		for name := range r.Partials {
			if p, ok := d.partial(d.Incomplete(name), name); ok {
				out = append(out, p)
			}
		}
		for name := range r.Blobs {
			if p, ok := d.partial(d.Blob(name), name); ok && !d.shows(name) {
				out = append(out, p.whole())
			}
		}
	}
	return out, nil
}

// whole is a partial that has all of its bytes. Another tool's file keeps its old time when
// it is taken, so the time when it came counts, where that can be told.
func (p Partial) whole() Partial {
	p.Whole = true
	if f, err := disk.FactsAt(p.Path); err == nil {
		p.Changed = time.Unix(0, max(f.Modified, f.Changed))
	}
	return p
}

func (d Folder) partial(path, blob string) (Partial, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return Partial{}, false
	}
	return Partial{Path: path, Size: info.Size(), Changed: info.ModTime(), folder: d, blob: blob}, true
}

// RemovePartial removes a download that Collect has returned. The error is ErrInUse where
// somebody went on with it.
func (s *Store) RemovePartial(p Partial) (freed int64, err error) {
	d := p.folder
	release, got, err := d.tryLock(p.blob)
	if err != nil {
		return 0, err
	}
	if !got {
		return 0, ErrInUse
	}
	defer d.Tidy() // after the lock is released
	defer release()
	now, ok := d.partial(p.Path, p.blob)
	if p.Whole {
		now = now.whole()
	}
	switch {
	case !ok:
		return 0, nil
	case !now.Changed.Equal(p.Changed) || p.Whole && d.shows(p.blob):
		return 0, ErrInUse
	}
	freed = spaceOf(p.Path)
	err = os.Remove(p.Path)
	if merr := os.Remove(p.Path + pieces); merr != nil && !errors.Is(merr, fs.ErrNotExist) {
		err = errors.Join(err, merr)
	}
	if err != nil {
		return 0, err
	}
	// What is gone leaves the record.
	return freed, d.changeRecord(func(*record) {})
}
