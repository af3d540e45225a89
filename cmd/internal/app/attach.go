package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// attached is what the flags for the server name on this host: what it reads and what it
// writes. It implements engine.Paths.
type attached struct {
	files   []engine.File
	volumes []engine.Volume
	// given are the files by how the user named them.
	given []givenFile
}

// givenFile is a file that a flag names.
type givenFile struct {
	engine.Path
	// at is the path that the server gets.
	at string
}

// hashUpTo is the size in bytes up to which a file is known by its content. A larger one
// is known by its size and time: to read it would take longer than the start.
const hashUpTo = 256 << 20

// attach finds the files that the user's flags for the server name, and gives the flags
// with the paths that the server gets.
func attach(words []string) (attached, []string, error) {
	var a attached
	out, err := engine.WithPaths(words, &a)
	return a, out, err
}

// Is implements engine.Paths.
func (a *attached) Is(path string) bool {
	_, err := os.Stat(path)
	return path != "" && err == nil
}

// Place implements engine.Paths.
func (a *attached) Place(p engine.Path) (string, error) {
	at, err := a.place(p)
	if err != nil {
		return "", fault.New(fault.Usage, fmt.Sprintf("%s %s cannot be given to the server", p.Flag, strconv.Quote(p.Value)), err, adviceFor(p.Use))
	}
	a.given = append(a.given, givenFile{p, at})
	return at, nil
}

func adviceFor(u engine.Use) string {
	if u == engine.WritesFolder || u == engine.WritesFile {
		return "give it a name"
	}
	return "check the path: it is one of this machine, and a relative one begins in the folder that llorch-bk runs in"
}

func (a *attached) place(p engine.Path) (string, error) {
	if p.Value == "" {
		return "", errors.New("it names nothing")
	}
	switch p.Use {
	case engine.WritesFolder:
		return a.volume(p.Name), nil
	case engine.WritesFile:
		base := filepath.Base(p.Value)
		if strings.HasSuffix(p.Value, "/") || base == "." || base == ".." {
			return "", errors.New("it names no file")
		}
		return path.Join(a.volume(p.Name), plainName(base)), nil
	case engine.ReadsFile, engine.ReadsSecret, engine.ReadsFolder:
	}
	host, err := filepath.Abs(p.Value)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(host)
	if err != nil {
		return "", why(err)
	}
	folder := p.Use == engine.ReadsFolder
	switch {
	case folder && !info.IsDir():
		return "", errors.New("it is no folder")
	case !folder && info.IsDir():
		return "", errors.New("it is a folder")
	case !folder && !info.Mode().IsRegular():
		return "", errors.New("it is no regular file, and only these can be shown to a container")
	}
	// One file can be named by several flags, and is there once.
	i := slices.IndexFunc(a.files, func(f engine.File) bool { return f.Host == host && f.Folder == folder })
	if i >= 0 {
		if f := &a.files[i]; p.Use == engine.ReadsSecret && !f.Secret {
			f.Secret = true
			f.Digest, err = identify(*f)
		}
		return a.files[i].Path, err
	}
	return a.add(host, engine.File{Folder: folder, Secret: p.Use == engine.ReadsSecret})
}

// add adds a file of this host, with the shards that belong to it, and returns the path
// that the server gets.
func (a *attached) add(host string, like engine.File) (string, error) {
	names, err := shardsBeside(host)
	if err != nil {
		return "", err
	}
	dir, name := filepath.Split(host)
	root := a.root()
	for _, shard := range names {
		f := like
		f.Host, f.Path = filepath.Join(dir, shard), path.Join(root, plainName(shard))
		if f.Digest == "" {
			if f.Digest, err = identify(f); err != nil {
				return "", why(err)
			}
		}
		a.files = append(a.files, f)
	}
	return path.Join(root, plainName(name)), nil
}

// shardsBeside are the files of a model in several by one of them. A file that only has
// the name of one is alone.
func shardsBeside(host string) ([]string, error) {
	dir, name := filepath.Split(host)
	names := gguf.Shards(name)
	var missing []string
	for _, shard := range names {
		if _, err := os.Stat(filepath.Join(dir, shard)); err != nil {
			missing = append(missing, shard)
		}
	}
	switch len(missing) {
	case 0:
		return names, nil
	case len(names) - 1:
		return []string{name}, nil
	}
	return nil, fmt.Errorf("it is in %d files, and there is no %s beside it", len(names), strings.Join(missing, ", "))
}

// root is a folder of the server's that no file is in yet.
func (a *attached) root() string {
	taken := map[string]bool{}
	for _, f := range a.files {
		taken[path.Dir(f.Path)] = true
	}
	return path.Join(engine.FilesRoot, strconv.Itoa(len(taken)))
}

// volume is the path of a folder that the server writes to.
func (a *attached) volume(name string) string {
	v := engine.Volume{Name: name}
	if !slices.Contains(a.volumes, v) {
		a.volumes = append(a.volumes, v)
	}
	return v.Path()
}

// identify is what changes when a file's content does. The hash of a secret is not: it
// would stand in a label, and a weak secret can be found by its hash.
func identify(f engine.File) (string, error) {
	info, err := os.Stat(f.Host)
	if err != nil || f.Folder {
		return "", err
	}
	if f.Secret || info.Size() > hashUpTo {
		in, err := os.Open(f.Host)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("size=%d,changed=%d", info.Size(), info.ModTime().UnixNano()), in.Close()
	}
	sum, err := digest.File(context.Background(), f.Host, "", info.Size(), func(int64) {})
	return "sha256:" + sum, err
}

// plainName is a file's name without what has a meaning in the values of the server's
// flags.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`,:"'\`, r) {
			return '_'
		}
		return r
	}, name)
}

// why is the reason alone: the path stands before it.
func why(err error) error {
	var at *os.PathError
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("there is no such file on this machine")
	case errors.As(err, &at):
		return at.Err
	}
	return err
}
