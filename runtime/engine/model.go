package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// modelRoot is where models are inside a container when nothing else is asked for.
const modelRoot = "/models"

// Mount says which model a container serves and where it finds it.
type Mount struct {
	// HostFile is the model's absolute path on the host; of a model in shards
	// the first one's, with the others beside it.
	HostFile string `json:"host_file"`
	// HostDir is the folder that is mounted, which holds HostFile at any depth
	// together with whatever it is a link to. Empty mounts the one file, or the
	// shards, alone.
	HostDir string `json:"host_dir,omitempty"`
	// ContainerPath is the model's path in the container, which ends like
	// HostFile's path below HostDir. Empty puts it below /models.
	ContainerPath string `json:"container_path,omitempty"`
	// SHA256 is the hash of HostFile in hex, where it is known: a model with
	// other content then is another run, and a copy of it another copy.
	SHA256 string `json:"sha256,omitempty"`
}

// shard matches the first of a model's shards, named as llama.cpp wants them.
var shard = regexp.MustCompile(`^(.+)-00001-of-(\d{5})\.gguf$`)

// rel is HostFile below what is mounted, with slashes.
func (m Mount) rel() (string, error) {
	if m.HostDir == "" {
		return filepath.Base(m.HostFile), nil
	}
	rel, err := filepath.Rel(m.HostDir, m.HostFile)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return "", fmt.Errorf("%s is not in %s", m.HostFile, m.HostDir)
	}
	return filepath.ToSlash(rel), nil
}

// Path is the model's path in the container.
func (m Mount) Path() string {
	if m.ContainerPath != "" {
		return m.ContainerPath
	}
	rel, err := m.rel()
	if err != nil {
		return modelRoot
	}
	return path.Join(modelRoot, rel)
}

// root is the folder in the container at which the model's folder appears.
func (m Mount) root() string {
	rel, err := m.rel()
	if err != nil {
		return modelRoot
	}
	return path.Clean(strings.TrimSuffix(m.Path(), "/"+rel))
}

// validate says what is wrong with m as a request, without a look at the disk.
func (m Mount) validate() error {
	if !filepath.IsAbs(m.HostFile) || m.HostDir != "" && !filepath.IsAbs(m.HostDir) {
		return fmt.Errorf("the model's path %q is not absolute", m.HostFile)
	}
	rel, err := m.rel()
	if err != nil {
		return err
	}
	p := m.Path()
	if !path.IsAbs(p) || path.Clean(p) != p || !strings.HasSuffix(p, "/"+rel) || p == "/"+rel {
		return fmt.Errorf("the model's path in the container %q must be absolute, below a folder and end in %q", p, rel)
	}
	return nil
}

// modelFile is one file of a model.
type modelFile struct {
	host string
	// rel is its path below root, with slashes.
	rel  string
	size int64
	// stamp changes when the file does, as far as can be told without reading it.
	stamp string
}

// files looks up the model's files: one, or all shards.
func (m Mount) files() ([]modelFile, error) {
	rel, err := m.rel()
	if err != nil {
		return nil, err
	}
	names := []string{filepath.Base(m.HostFile)}
	if s := shard.FindStringSubmatch(names[0]); s != nil {
		count, err := strconv.Atoi(s[2])
		if err != nil || count < 1 {
			return nil, fmt.Errorf("%s is no shard's name", names[0])
		}
		for n := 2; n <= count; n++ {
			names = append(names, fmt.Sprintf("%s-%05d-of-%s.gguf", s[1], n, s[2]))
		}
	}
	var out []modelFile
	var errs []error
	for _, name := range names {
		host := filepath.Join(filepath.Dir(m.HostFile), name)
		info, err := os.Stat(host)
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is no file", host)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, modelFile{
			host: host, rel: path.Join(path.Dir(rel), name), size: info.Size(),
			stamp: fmt.Sprintf("%d@%d", info.Size(), info.ModTime().UnixNano()),
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fault.New(fault.Model, "the model is not on this machine", err, "run it again to fetch it, or give another --model")
	}
	return out, nil
}

// key identifies the content and layout of a model's copy, so that a copy that
// exists can be used again.
func (m Mount) key(files []modelFile) string {
	h := sha256.New()
	fmt.Fprintf(h, "1\x00%s\x00", m.SHA256)
	for i, f := range files {
		// A hash, where there is one, vouches for the first file's content.
		stamp := f.stamp
		if i == 0 && m.SHA256 != "" {
			stamp = strconv.FormatInt(f.size, 10)
		}
		fmt.Fprintf(h, "%s\x00%s\x00", f.rel, stamp)
	}
	return hex.EncodeToString(h.Sum(nil))
}
