package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// modelRoot is the models' folder inside a container.
const modelRoot = "/models"

// shard matches the name of a model's first shard, in llama.cpp's format.
var shard = regexp.MustCompile(`^(.+)-00001-of-(\d{5})\.gguf$`)

// modelPath is the model's path in the container.
func modelPath(m engine.Model) string {
	rel, err := m.Rel()
	if err != nil { // Validate refuses such a model
		return modelRoot
	}
	return path.Join(modelRoot, rel)
}

// modelFile is one file of a model.
type modelFile struct {
	host string
	// rel is its path below modelRoot, with slashes.
	rel  string
	size int64
	// stamp changes with the file, as far as its size and time show.
	stamp string
	// group is the only group that may read a copy; 0 for everybody.
	group int
}

// shownModel is how a model is seen by the server.
func shownModel(m engine.Model) (shown, error) {
	files, err := filesOf(m)
	if err != nil {
		return shown{}, err
	}
	return shown{host: m.HostFile, dir: m.HostDir, root: modelRoot, read: modelPath(m), files: files, key: keyOf(m, files)}, nil
}

// filesOf lists a model's files: one, or all shards.
func filesOf(m engine.Model) ([]modelFile, error) {
	rel, err := m.Rel()
	if err != nil {
		return nil, err
	}
	names := []string{filepath.Base(m.HostFile)}
	if s := shard.FindStringSubmatch(names[0]); s != nil && m.Shards != 1 {
		count, err := strconv.Atoi(s[2])
		if err != nil || count < 1 {
			return nil, fmt.Errorf("invalid shard name %s", names[0])
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
			err = fmt.Errorf("%s is not a regular file", host)
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
		return nil, fault.New(fault.Model, "cannot read the model on this machine", err, modelAdvice(err))
	}
	return out, nil
}

// modelAdvice says what to do about a model's file that cannot be used, by the cause.
func modelAdvice(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "check the path, or download the model again with `llorch-bk model pull`"
	case errors.Is(err, fs.ErrPermission):
		return "let this user read the file and its folder"
	}
	return ""
}

// keyOf identifies the content and layout of a model's copy, so that an existing copy can be
// reused.
func keyOf(m engine.Model, files []modelFile) string {
	h := sha256.New()
	fmt.Fprintf(h, "1\x00%s\x00", m.SHA256)
	for i, f := range files {
		// If there is a hash, it identifies the first file's content.
		stamp := f.stamp
		if i == 0 && m.SHA256 != "" {
			stamp = strconv.FormatInt(f.size, 10)
		}
		fmt.Fprintf(h, "%s\x00%s\x00", f.rel, stamp)
	}
	return hex.EncodeToString(h.Sum(nil))
}
