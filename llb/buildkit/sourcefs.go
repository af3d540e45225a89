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

// sourceFS is a tree as it is sent to a builder.
//
// A builder keeps what it was sent of a folder, and asks only for files whose size,
// mode or time of change differs from what it has (fsutil's metadata differ). Times
// of trees say little: archives, caches and checkouts with fixed times have equal
// ones for other content. So the time that is sent is made of the content's digest:
// a file is sent again exactly if its content is another. What comes after is keyed
// by content, and knows no times.
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

// contentTime is a time, in nanoseconds since 1970, that stands for a file's content:
// 60 bits of its digest, which are up to the year 2006. A folder's does not count.
func contentTime(e source.Entry) int64 {
	if e.Mode.IsDir() {
		return 0
	}
	return timeOf(e.SHA256)
}

func timeOf(sum [sha256.Size]byte) int64 { return int64(binary.BigEndian.Uint64(sum[:8]) >> 4) }
