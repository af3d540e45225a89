package engine

import (
	"fmt"
	"path/filepath"
)

// Model is the model to serve.
type Model struct {
	// HostFile is the model's absolute path on the host. For a model in shards it is the
	// first shard; the others are beside it.
	HostFile string `json:"host_file"`
	// HostDir is the folder that the server may see. It contains HostFile at any depth, and
	// the target if that is a link. If it is empty, the server sees only the file, or the
	// shards.
	HostDir string `json:"host_dir,omitempty"`
	// SHA256 is the hash of HostFile in hex, if it is known. It is part of the run digest.
	SHA256 string `json:"sha256,omitempty"`
	// Shards is how many files the model is in; 0 for what HostFile's name says. A file can
	// be called a part of a model and be a whole one.
	Shards int `json:"-"`
	// Content identifies the bytes of all the model's files, where they are known. Equal
	// content is the same run, wherever the files are: the folder of a repository's model
	// has the commit in its name, and most commits leave the model alone.
	Content string `json:"content,omitempty"`
}

// identity is what of a model makes the server. The server gives the file's name as the
// model's, so the name counts beside the content.
func (m Model) identity() Model {
	if m.Content == "" {
		return m
	}
	return Model{HostFile: filepath.Base(m.HostFile), Content: m.Content}
}

// Rel is HostFile's path below HostDir, with slashes, or just its name.
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

// validate checks the model without reading the disk.
func (m Model) validate() error {
	if !filepath.IsAbs(m.HostFile) || m.HostDir != "" && !filepath.IsAbs(m.HostDir) {
		return fmt.Errorf("the model's path must be absolute, got %q", m.HostFile)
	}
	_, err := m.Rel()
	return err
}
