package model

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// fromFile checks a file of the user's own, which is used where it is.
func (f *Fetcher) fromFile(ctx context.Context, r Ref) (Local, error) {
	p, err := filepath.Abs(r.Path)
	if err != nil {
		return Local{}, err
	}
	info, err := os.Stat(p)
	if err != nil {
		return Local{}, err
	}
	if !info.Mode().IsRegular() {
		what := "not a regular file"
		if info.IsDir() {
			what = "a folder"
		}
		return Local{}, fmt.Errorf("it is %s: %w", what, gguf.ErrNotModel)
	}
	file, err := os.Open(p)
	if err != nil {
		return Local{}, err
	}
	defer file.Close()
	head, err := gguf.ReadHead(file)
	if err != nil {
		return Local{}, err
	}
	if err := gguf.Check(head); err != nil {
		return Local{}, err
	}
	l := Local{Ref: r, Path: p, Size: info.Size(), Shards: 1}
	if shards := gguf.Parts(p); len(shards) > 1 {
		return f.fileShards(ctx, r, l, shards)
	}
	// A file that was replaced is told by its content.
	if l.SHA256, err = f.contentHash(ctx, p); err == nil && r.SHA256 != "" && l.SHA256 != r.SHA256 {
		err = &digest.MismatchError{Kind: "SHA-256", Want: r.SHA256, Got: l.SHA256}
	}
	return l, err
}

// fileShards checks that a split model of the user's own has all of its files. The server
// gets the first.
func (f *Fetcher) fileShards(ctx context.Context, r Ref, l Local, shards []string) (Local, error) {
	if r.SHA256 != "" {
		return Local{}, errShardHash
	}
	dir := filepath.Dir(l.Path)
	l.Path, l.Size, l.Shards = filepath.Join(dir, shards[0]), 0, len(shards)
	var lacks []error
	for _, name := range shards {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() {
			lacks = append(lacks, fmt.Errorf("%s is missing beside it", name))
			continue
		}
		l.Size += info.Size()
	}
	if len(lacks) > 0 {
		return Local{}, fmt.Errorf("%w: it is in %d files: %w", errIncomplete, len(shards), errors.Join(lacks...))
	}
	for _, name := range shards {
		sum, err := f.contentHash(ctx, filepath.Join(dir, name))
		if err != nil {
			return Local{}, err
		}
		l.hashes = append(l.hashes, sum)
	}
	l.SHA256 = l.hashes[0]
	return l, nil
}

// errIncomplete is a user's own model of which not all files are there.
var errIncomplete = errors.New("the model is not whole")
