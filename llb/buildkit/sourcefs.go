package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/llb/source"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// sourceFS is a tree in the form in which it is sent to a builder.
//
// A builder keeps the files that it received for a folder, and requests only those whose
// size, mode or modification time changed (fsutil compares metadata). Real times are
// unreliable: archives, caches and checkouts with fixed times have equal times for different
// content. So the time that is sent is derived from the content's digest, and a file is sent
// again exactly if its content changed. Later steps are keyed by content, without times.
type sourceFS struct{ source.Content }

// Walk implements fsutil.FS.
func (s sourceFS) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	target = strings.Trim(filepath.ToSlash(target), "/")
	skipped := ""
	for _, e := range s.Entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if target != "" && target != "." && e.Path != target && !strings.HasPrefix(e.Path, target+"/") {
			continue
		}
		if skipped != "" && strings.HasPrefix(e.Path, skipped+"/") {
			continue
		}
		path := filepath.FromSlash(e.Path)
		err := fn(path, &fsutil.DirEntryInfo{Stat: &types.Stat{
			Path: path, Mode: uint32(e.Mode), Size: e.Size, Linkname: e.Link, ModTime: contentTime(e),
		}}, nil)
		switch {
		case err == fs.SkipDir && e.Mode.IsDir(): //nolint:errorlint // As fs.WalkDir does.
			skipped = e.Path
		case err == fs.SkipDir || err == fs.SkipAll: //nolint:errorlint // As fs.WalkDir does.
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}

// Open implements fsutil.FS.
func (s sourceFS) Open(name string) (io.ReadCloser, error) { return s.Content.Open(name) }

// contentTime is a time, in nanoseconds since 1970, that represents a file's content: 60 bits
// of its digest, which reach up to the year 2006. A folder's time is not used.
func contentTime(e source.Entry) int64 {
	if e.Mode.IsDir() {
		return 0
	}
	return timeOf(e.SHA256)
}

func timeOf(sum [sha256.Size]byte) int64 { return int64(binary.BigEndian.Uint64(sum[:8]) >> 4) }
