package model

import (
	"context"
	"crypto/sha1" //nolint:gosec // git names a blob by its SHA-1; nothing else here relies on it
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// copySize is the unit in which content is read, hashed and written.
const copySize = 1 << 20

// expectation is what content must hash to; an empty field is not checked.
type expectation struct {
	// sha256 is in hex, from the ref or from the Hub's LFS entry.
	sha256 string
	// git is a git blob's name in hex: the SHA-1 of "blob <size>\x00" and the
	// content. The Hub has no other hash of a file that is not in LFS.
	git string
}

func (e expectation) none() bool { return e == expectation{} }

// mismatchError is content that is not what was promised.
type mismatchError struct{ kind, want, got string }

func (e *mismatchError) Error() string {
	return fmt.Sprintf("its %s is %s, and %s was promised", e.kind, e.got, e.want)
}

// partial is a blob that is being fetched. It hashes what it holds as it grows.
type partial struct {
	file *os.File
	size int64
	// gitSize is the final size, which a git blob's hash begins with; -1 where
	// no git hash is wanted.
	gitSize  int64
	sha, git hash.Hash
}

// openPartial opens an incomplete blob, resumed from where the last run left it
// where resume says so.
func openPartial(ctx context.Context, s *Store, path string, gitSize int64, resume bool, seen func(int64)) (*partial, error) {
	p := &partial{gitSize: gitSize}
	err := s.within(filepath.Dir(path), func() (err error) {
		p.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := p.file.Chmod(fileMode); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	p.begin()
	if resume {
		err = p.rehash(ctx, seen)
	} else {
		err = p.restart()
	}
	if err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	return p, nil
}

func (p *partial) begin() {
	p.size = 0
	p.sha = sha256.New()
	if p.gitSize >= 0 {
		p.git = sha1.New() //nolint:gosec // as above
		fmt.Fprintf(p.git, "blob %d\x00", p.gitSize)
	}
}

// rehash reads what an earlier run left, since a hash has no memory across runs.
func (p *partial) rehash(ctx context.Context, seen func(int64)) error {
	buf := make([]byte, copySize)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := p.file.Read(buf)
		p.add(buf[:n])
		seen(p.size)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *partial) add(b []byte) {
	p.sha.Write(b)
	if p.git != nil {
		p.git.Write(b)
	}
	p.size += int64(len(b))
}

// Write appends. What the disk did not take is not counted.
func (p *partial) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.add(b[:n])
	return n, err
}

// restart throws away what is there.
func (p *partial) restart() error {
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p.begin()
	return nil
}

// verify compares the whole content with what was promised.
func (p *partial) verify(e expectation) error {
	if got := p.sha256(); e.sha256 != "" && got != e.sha256 {
		return &mismatchError{"SHA-256", e.sha256, got}
	}
	if e.git != "" {
		if got := hex.EncodeToString(p.git.Sum(nil)); got != e.git {
			return &mismatchError{"git hash", e.git, got}
		}
	}
	return nil
}

func (p *partial) sha256() string { return hex.EncodeToString(p.sha.Sum(nil)) }

// publish gives the content its final name, on disk before it is seen.
func (p *partial) publish(final string) error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), final); err != nil {
		return err
	}
	if err := p.file.Close(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(final))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// keep closes the file and leaves it for the next run to resume.
func (p *partial) keep() {
	_ = p.file.Close()
	if p.size == 0 {
		_ = os.Remove(p.file.Name())
	}
}

// discard closes the file and removes it.
func (p *partial) discard() {
	_ = p.file.Close()
	_ = os.Remove(p.file.Name())
}

// hashFile is the SHA-256 of a file, in hex.
func hashFile(ctx context.Context, path string, seen func(int64)) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	p := &partial{file: f, gitSize: -1}
	p.begin()
	if err := p.rehash(ctx, seen); err != nil {
		return "", err
	}
	return p.sha256(), nil
}

// onDisk is what a file takes of its disk, and so needs no more of; a file that
// grows in pieces has holes.
func onDisk(path string) int64 {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return min(info.Size(), allocated(info))
}

// sizeOf is a file's size, 0 where there is none.
func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeType != 0 {
		return 0
	}
	return info.Size()
}
