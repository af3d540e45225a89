package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/llorch/llorch-bk/runtime/model/disk"
)

// Remove takes a model out of the store with what belongs to it and to no other model, and
// of their blobs those that no other snapshot shows. It returns how many bytes are free again. The error is ErrInUse where another
// process holds the model.
func (s *Store) Remove(m Stored) (freed int64, err error) { return s.RemoveIf(m, nil) }

// RemoveIf is Remove, if still returns nil. Still is called when no process can begin to
// use the model any more, so that it sees whoever began before.
func (s *Store) RemoveIf(m Stored, still func() error) (freed int64, err error) {
	d := m.folder
	m.names = slices.Concat(m.names, d.ownedBy(m))
	paths := make([]string, len(m.names))
	for i, name := range m.names {
		paths[i] = d.File(m.commit, name)
	}
	release, err := s.claim(paths)
	if err != nil {
		return 0, err
	}
	defer release()
	if still != nil {
		if err := still(); err != nil {
			return 0, err
		}
	}
	var errs []error
	for _, name := range m.names {
		n, err := d.removeFile(m, name)
		freed += n
		errs = append(errs, err)
	}
	errs = append(errs, d.forget(m))
	return freed, errors.Join(errs...)
}

// removeFile removes a file of a model, and its blob where nothing else shows that.
func (d Folder) removeFile(m Stored, name string) (freed int64, err error) {
	c, err := d.look(d.record(), m.commit, name)
	var damaged *DamagedError
	if err != nil && !errors.As(err, &damaged) {
		c = content{link: true} // nothing is known of it, so only the name goes
	}
	p := d.File(m.commit, name)
	freed = spaceOf(p)
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if !c.link {
		return freed, nil
	}
	return d.removeBlob(c.blob, m.Foreign)
}

// removeBlob removes a blob that no snapshot shows, if this program put it there or if the
// user named a model of another tool.
func (d Folder) removeBlob(blob string, foreign bool) (freed int64, err error) {
	if blob == "" {
		return 0, nil
	}
	// Whoever fetches the same content looks for it under this lock.
	release, got, err := d.tryLock(blob)
	if err != nil || !got {
		return 0, err
	}
	defer release()
	if d.shows(blob) || !foreign && !d.record().owns(blob) {
		return 0, nil
	}
	freed = spaceOf(d.Blob(blob))
	if err := os.Remove(d.Blob(blob)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return freed, nil
}

// spaceOf is how many bytes are free again when a name of a file is removed.
func spaceOf(path string) int64 {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || disk.Links(info) > 1 {
		return 0
	}
	return info.Size()
}

// shows reports whether a snapshot has a link to a blob.
func (d Folder) shows(blob string) bool {
	for _, name := range d.names("snapshots") {
		target, err := os.Readlink(d.path("snapshots", filepath.FromSlash(name)))
		if err == nil && filepath.Base(target) == blob {
			return true
		}
	}
	return false
}

// forget removes what is left of a model that is gone: its record and uses, revisions that
// mean nothing any more, and empty folders.
func (d Folder) forget(m Stored) error {
	d.changeUses(func(all map[string]use) {
		for _, name := range m.names {
			delete(all, useOf(m.commit, name))
		}
	})
	d.forgetCompanions(m.commit, m.names[0])
	err := d.changeRecord(func(*record) {}) // what is gone leaves it
	removeEmpty(d.path("snapshots", m.commit))
	_ = os.Remove(d.path("snapshots")) // where it is empty
	if !exists(d.path("snapshots")) {
		_ = os.RemoveAll(d.path("refs"))
	}
	d.Tidy()
	return err
}
