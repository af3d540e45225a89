package model

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// own checks a file of the user's; it is used where it is.
func (f *Fetcher) own(ctx context.Context, ref Ref) (Local, error) {
	p, err := filepath.Abs(ref.Path)
	if err != nil {
		return Local{}, err
	}
	info, err := os.Stat(p)
	if err != nil {
		return Local{}, err
	}
	if !info.Mode().IsRegular() {
		what := "something else than a file"
		if info.IsDir() {
			what = "a folder"
		}
		return Local{}, fmt.Errorf("it is %s: %w", what, errNotModel)
	}
	file, err := os.Open(p)
	if err != nil {
		return Local{}, err
	}
	defer file.Close()
	head, err := readHeader(file)
	if err != nil {
		return Local{}, err
	}
	if err := checkHeader(head); err != nil {
		return Local{}, err
	}
	l := Local{Ref: ref, Path: p, Size: info.Size(), Shards: 1}
	if parts := shardsOf(filepath.Base(p)); len(parts) > 1 {
		return f.ownParts(ref, l, parts)
	}
	if ref.SHA256 != "" {
		if l.SHA256, err = f.hash(ctx, p, info.Size()); err == nil && l.SHA256 != ref.SHA256 {
			err = &mismatchError{"SHA-256", ref.SHA256, l.SHA256}
		}
	}
	return l, err
}

// ownParts checks that a user's own model has all of its files; the server is given
// the first.
func (f *Fetcher) ownParts(ref Ref, l Local, parts []string) (Local, error) {
	if ref.SHA256 != "" {
		return Local{}, errShardHash
	}
	dir := filepath.Dir(l.Path)
	l.Path, l.Size, l.Shards = filepath.Join(dir, parts[0]), 0, len(parts)
	var lacks []error
	for _, name := range parts {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() {
			lacks = append(lacks, fmt.Errorf("%s is not beside it", name))
			continue
		}
		l.Size += info.Size()
	}
	if len(lacks) > 0 {
		return Local{}, fmt.Errorf("the model is in %d files: %w", len(parts), errors.Join(lacks...))
	}
	return l, nil
}
