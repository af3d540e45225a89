package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// recordFile is where a model's folder keeps what this program put there. Other tools may
// use the same folder, so nothing else is removed unless the user names it.
const recordFile = ".files.json"

// record is what this program put into a model's folder.
type record struct {
	// Blobs are the contents in blobs, by name with their size in bytes.
	Blobs map[string]int64 `json:"blobs,omitempty"`
	// Partials are the names of the contents that it began to fetch.
	Partials map[string]bool `json:"partials,omitempty"`
	// Files are the snapshots' files, by commit and file.
	Files map[string]recorded `json:"files,omitempty"`
}

// recorded is the content that a snapshot's file had when it was verified.
type recorded struct {
	Blob string `json:"blob"`
	// Size is in bytes.
	Size int64 `json:"size"`
}

// record reads a folder's record. It is empty where there is none, or where it cannot be
// read: what is not known to be ours is not ours.
func (d Folder) record() record {
	var r record
	if b, err := os.ReadFile(d.path(recordFile)); err != nil || json.Unmarshal(b, &r) != nil {
		r = record{}
	}
	if r.Blobs == nil {
		r.Blobs = map[string]int64{}
	}
	if r.Partials == nil {
		r.Partials = map[string]bool{}
	}
	if r.Files == nil {
		r.Files = map[string]recorded{}
	}
	return r
}

// changeRecord rewrites a folder's record under a lock. What is not there any more leaves
// it.
func (d Folder) changeRecord(change func(*record)) error {
	release, err := d.Lock(context.Background(), "files", func() {})
	if err != nil {
		return err
	}
	defer release()
	r := d.record()
	change(&r)
	maps.DeleteFunc(r.Blobs, func(name string, _ int64) bool { return !exists(d.Blob(name)) })
	maps.DeleteFunc(r.Partials, func(name string, _ bool) bool { return !exists(d.Incomplete(name)) })
	maps.DeleteFunc(r.Files, func(at string, _ recorded) bool { return !exists(d.path("snapshots", filepath.FromSlash(at))) })
	if len(r.Blobs)+len(r.Partials)+len(r.Files) == 0 {
		if err := os.Remove(d.path(recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if before, err := os.ReadFile(d.path(recordFile)); err == nil && bytes.Equal(before, b) {
		return nil
	}
	return d.store.within(d.path(), func() error { return writeFile(d.path(recordFile), b) })
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Own records that this program put a blob into the folder, whole and verified.
func (d Folder) Own(blob string) error {
	info, err := os.Stat(d.Blob(blob))
	if err != nil {
		return err
	}
	return d.changeRecord(func(r *record) {
		r.Blobs[blob] = info.Size()
		delete(r.Partials, blob)
	})
}
