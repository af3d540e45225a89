package model

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
)

// errChanging means that somebody writes to a file that is to be served.
var errChanging = errors.New("the file was changed while it was read")

// keptSum is a file's hash, with what the file system said of the file when it was read.
type keptSum struct {
	Path   string     `json:"path"`
	Facts  disk.Facts `json:"facts"`
	SHA256 string     `json:"sha256"`
}

// contentHash is a file's SHA-256. The file is read once: as long as the file system says
// the same of it (inode, size, times), the hash from then is used.
func (f *Fetcher) contentHash(ctx context.Context, path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	before, err := disk.FactsAt(real)
	if err != nil {
		return "", err
	}
	if sum, ok := f.keptHash(real, before); ok {
		return sum, nil
	}
	began := f.clock()
	task := f.begin("hash "+filepath.Base(path), before.Size)
	sum, err := digest.File(ctx, real, "", before.Size, task.Set)
	if err == nil {
		var after disk.Facts
		if after, err = disk.FactsAt(real); err == nil && after != before {
			err = errChanging
		}
	}
	task.End(err)
	if err != nil {
		return "", err
	}
	// A file that was written to just now can be written to again at what is the same time
	// to its file system.
	if before.Settled(began) {
		f.keepHash(keptSum{real, before, sum})
	}
	return sum, nil
}

func (f *Fetcher) clock() time.Time {
	if f.now != nil {
		return f.now()
	}
	return time.Now()
}

// keptAt is where the hash of the file at a path is kept.
func (f *Fetcher) keptAt(path string) string {
	name := sha256.Sum256([]byte(path))
	return filepath.Join(f.HashDir, hex.EncodeToString(name[:16])+".json")
}

func (f *Fetcher) keptHash(path string, facts disk.Facts) (string, bool) {
	if f.HashDir == "" {
		return "", false
	}
	var k keptSum
	b, err := os.ReadFile(f.keptAt(path))
	if err != nil || json.Unmarshal(b, &k) != nil {
		return "", false
	}
	return k.SHA256, k.Path == path && k.Facts == facts && digest.IsSHA256(k.SHA256)
}

// keepHash keeps a hash for the next time. Where it cannot, the file is read again then.
func (f *Fetcher) keepHash(k keptSum) {
	if f.HashDir == "" || os.MkdirAll(f.HashDir, 0o700) != nil {
		return
	}
	if b, err := json.Marshal(k); err == nil {
		_ = renameio.WriteFile(f.keptAt(k.Path), append(b, '\n'), 0o600)
	}
}
