package attest

import (
	"context"
	"path"
	"strings"
)

// Tree is the file system of an image, wherever it is stored.
type Tree interface {
	// Read returns a file's content, and false if the file does not exist.
	Read(ctx context.Context, name string) ([]byte, bool, error)
	// List returns the names in a folder; none if it does not exist.
	List(ctx context.Context, dir string) ([]string, error)
}

// Paths of an image's package database.
const (
	// StatusDir has a control file for each package, as in distroless images.
	StatusDir = "/var/lib/dpkg/status.d"
	// StatusFile is dpkg's own list.
	StatusFile = "/var/lib/dpkg/status"
	// ReleaseFile names the distribution.
	ReleaseFile = "/usr/lib/os-release"
	// CopyrightDir has a folder for each package, with its copyright file.
	CopyrightDir = "/usr/share/doc"
)

// Installed returns the distribution packages of an image. A root made from packages has
// a control file for each in StatusDir; a base has dpkg's StatusFile. The result is empty
// if the image has neither.
func Installed(ctx context.Context, img Tree) ([]Package, error) {
	status, err := statusOf(ctx, img)
	if err != nil || len(status) == 0 {
		return nil, err
	}
	copyrights := map[string][]byte{}
	for name := range status {
		data, ok, err := img.Read(ctx, path.Join(CopyrightDir, name, "copyright"))
		if err != nil {
			return nil, err
		}
		if ok {
			copyrights[name] = data
		}
	}
	release, _, err := img.Read(ctx, ReleaseFile)
	if err != nil {
		return nil, err
	}
	field := func(name string) string {
		for line := range strings.Lines(string(release)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
				return strings.Trim(v, `"'`)
			}
		}
		return ""
	}
	return DebianPackages(status, copyrights, field("ID"), field("VERSION_ID"))
}

// statusOf returns the control files of an image's packages, by name.
func statusOf(ctx context.Context, img Tree) (map[string][]byte, error) {
	status := map[string][]byte{}
	names, err := img.List(ctx, StatusDir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".md5sums") {
			continue
		}
		if status[name], _, err = img.Read(ctx, path.Join(StatusDir, name)); err != nil {
			return nil, err
		}
	}
	all, _, err := img.Read(ctx, StatusFile)
	if err != nil {
		return nil, err
	}
	for stanza := range strings.SplitSeq(string(all), "\n\n") {
		name, _, _ := strings.Cut(strings.TrimPrefix(stanza, "Package: "), "\n")
		if strings.Contains(stanza, "\nStatus: install ok installed\n") {
			status[name] = []byte(stanza + "\n")
		}
	}
	return status, nil
}
