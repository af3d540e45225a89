package transfer

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
)

// copySize is how many bytes are read, hashed and written at once.
const copySize = 1 << 20

// appender is a file that grows at its end. It hashes what it holds.
type appender struct {
	file *os.File
	// gitSize is the final size in bytes, which a git hash begins with; digest.NoGit
	// where none is wanted.
	gitSize int64
	hash    *digest.Hash
}

// openAppender opens a target's partial file. With resume it goes on with what an earlier
// run left, which it reads, because a hash has no memory across runs.
func openAppender(ctx context.Context, to Target, gitSize int64, resume bool, seen func(int64)) (*appender, error) {
	file, err := to.Open(to.Partial)
	if err != nil {
		return nil, err
	}
	p := &appender{file: file, gitSize: gitSize, hash: digest.New(gitSize)}
	if resume {
		err = p.hash.ReadAll(ctx, p.file, seen)
	} else {
		err = p.restart()
	}
	if err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	return p, nil
}

// size is how much there is, in bytes.
func (p *appender) size() int64 { return p.hash.Size() }

// Write appends. What the disk did not take is not counted.
func (p *appender) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	_, _ = p.hash.Write(b[:n])
	return n, err
}

// restart throws away what is there.
func (p *appender) restart() error {
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p.hash = digest.New(p.gitSize)
	return nil
}

// publish gives the content its final name. It is on the disk before anybody sees it.
func (p *appender) publish(final string) error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), final); err != nil {
		return err
	}
	if err := p.file.Close(); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(final))
}

// keep closes the file and leaves it for the next run.
func (p *appender) keep() {
	_ = p.file.Close()
	if p.size() == 0 {
		_ = os.Remove(p.file.Name())
	}
}

// discard closes the file and removes it.
func (p *appender) discard() {
	_ = p.file.Close()
	_ = os.Remove(p.file.Name())
}
