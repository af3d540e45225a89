package engine

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// The folders below which a server finds what it reads and writes beside its model.
const (
	FilesRoot = "/files"
	StateRoot = "/state"
)

// File is a file or a folder of the host that a server reads beside its model.
type File struct {
	// Host is its absolute path on the host.
	Host string `json:"host"`
	// Path is the one that the server gets: a folder of its own below FilesRoot and a
	// name, with slashes. The shards of a model share one folder.
	Path string `json:"path"`
	// Digest changes when the content does; empty for a folder.
	Digest string `json:"digest,omitempty"`
	// Folder says that it is a folder.
	Folder bool `json:"folder,omitempty"`
	// Secret says that it holds a secret, which must not outlive the server anywhere.
	Secret bool `json:"secret,omitempty"`
}

// Volume is a folder that a server writes to. It belongs to the replica: it stays when
// the server ends, and the next one finds what is in it.
type Volume struct {
	// Name is the folder's name below StateRoot.
	Name string `json:"name"`
}

// Path is the path that the server gets.
func (v Volume) Path() string { return path.Join(StateRoot, v.Name) }

// validate says what is wrong with f as a request, without a look at the disk.
func (f File) validate() error {
	if !filepath.IsAbs(f.Host) {
		return fmt.Errorf("the path %q of a file for the server is not absolute", f.Host)
	}
	rest, below := strings.CutPrefix(f.Path, FilesRoot+"/")
	if !below || path.Clean(f.Path) != f.Path || strings.Count(rest, "/") != 1 {
		return fmt.Errorf("a file for the server cannot be at %q", f.Path)
	}
	return nil
}

// identities are what of files makes the server: of one whose content is known, not
// where it is on the host.
func identities(files []File) []File {
	var out []File
	for _, f := range files {
		if strings.HasPrefix(f.Digest, "sha256:") {
			f.Host = ""
		}
		out = append(out, f)
	}
	return out
}

func (v Volume) validate() error {
	if v.Name == "" || v.Name == "." || v.Name == ".." || strings.ContainsAny(v.Name, "/\\") {
		return fmt.Errorf("a folder for the server cannot be called %q", v.Name)
	}
	return nil
}
