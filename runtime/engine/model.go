package engine

import (
	"fmt"
	"path/filepath"
)

// Model is the model that a server serves.
type Model struct {
	// HostFile is the model's absolute path on the host; of a model in shards
	// the first one's, with the others beside it.
	HostFile string `json:"host_file"`
	// HostDir is the folder that the server may see, which holds HostFile at any
	// depth together with whatever it is a link to. Empty shows the one file, or
	// the shards, alone.
	HostDir string `json:"host_dir,omitempty"`
	// SHA256 is the hash of HostFile in hex, where it is known: a model with
	// other content then is another run.
	SHA256 string `json:"sha256,omitempty"`
	// Shards is how many files the model is in; 0 for what HostFile's name says. A file can
	// be called a part of a model and be a whole one.
	Shards int `json:"-"`
}

// Rel is HostFile's path below HostDir, with slashes, or its name alone.
func (m Model) Rel() (string, error) {
	if m.HostDir == "" {
		return filepath.Base(m.HostFile), nil
	}
	rel, err := filepath.Rel(m.HostDir, m.HostFile)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return "", fmt.Errorf("%s is not in %s", m.HostFile, m.HostDir)
	}
	return filepath.ToSlash(rel), nil
}

// validate says what is wrong with m as a request, without a look at the disk.
func (m Model) validate() error {
	if !filepath.IsAbs(m.HostFile) || m.HostDir != "" && !filepath.IsAbs(m.HostDir) {
		return fmt.Errorf("the model's path %q is not absolute", m.HostFile)
	}
	_, err := m.Rel()
	return err
}
