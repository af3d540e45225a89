package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/llorch/llorch-bk/runtime/model/digest"
)

// Hash is the hash of a file, of the kind that name is, as digest.File makes it. Size is
// the file's size in bytes.
type Hash func(ctx context.Context, path, name string, size int64) (string, error)

// Verify reads all files of a model again and compares them with the hashes that the
// store keeps them under. It returns what is wrong, nothing where all is well.
func (m Stored) Verify(ctx context.Context, hash Hash) ([]string, error) {
	var wrong []string
	r := m.folder.record()
	for _, name := range m.allNames() {
		c, err := m.folder.look(r, m.commit, name)
		var damaged *DamagedError
		switch {
		case errors.As(err, &damaged):
			wrong = append(wrong, name+": "+damaged.what())
			continue
		case err != nil:
			wrong = append(wrong, name+" is missing")
			continue
		case !digest.IsSHA256(c.blob) && !digest.IsSHA1(c.blob):
			continue // its name says nothing of its content
		}
		got, err := hash(ctx, m.folder.File(m.commit, name), c.blob, c.size)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			wrong = append(wrong, fmt.Sprintf("%s cannot be read: %v", name, err))
			continue
		}
		if got != c.blob {
			wrong = append(wrong, fmt.Sprintf("%s hashes to %s, want %s", name, got, c.blob))
		}
	}
	return wrong, nil
}

// Record is what the store knows of a model besides its files.
type Record struct {
	of        Stored
	revisions []string
	uses      map[string]use
}

// Record reads what a repair, which removes a model and fetches it again, must not lose.
func (m Stored) Record() Record {
	return Record{of: m, revisions: m.folder.revisions(m.commit), uses: m.folder.uses()}
}

// Restore writes a record back, once the model is there again.
func (r Record) Restore(now time.Time) error {
	d := r.of.folder
	for _, name := range r.revisions {
		if err := d.SetRevision(name, r.of.commit); err != nil {
			return fmt.Errorf("revision %s: %w", name, err)
		}
	}
	for _, name := range r.of.names {
		u := r.uses[useOf(r.of.commit, name)]
		for _, by := range u.By {
			d.Use(r.of.commit, name, u.Ref, by, now)
		}
	}
	return nil
}
