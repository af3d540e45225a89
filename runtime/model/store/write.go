package store

import (
	"github.com/google/renameio/v2"

	"github.com/llorch/llorch-bk/runtime/model/disk"
)

// writeFile writes a file of the store whole or not at all.
func writeFile(path string, content []byte) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(fileMode))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // nothing where it was renamed
	if err := disk.ChmodFile(f.File, fileMode); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
