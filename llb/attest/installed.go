package attest

import (
	"context"
	"path"
	"strings"
)

// Tree is the files of an image, as a builder or a registry has them.
type Tree interface {
	// Read gives a file's content, and false for one that is not there.
	Read(ctx context.Context, name string) ([]byte, bool, error)
	// List gives the names in a folder; none for one that is not there.
	List(ctx context.Context, dir string) ([]string, error)
}

// Places where an image says which packages of a distribution it has.
const (
	// StatusDir has a control file for each package, as distroless images do.
	StatusDir = "/var/lib/dpkg/status.d"
	// StatusFile is dpkg's own list.
	StatusFile = "/var/lib/dpkg/status"
	// ReleaseFile names the distribution.
	ReleaseFile = "/usr/lib/os-release"
	// CopyrightDir has a folder for each package, with its copyright file.
	CopyrightDir = "/usr/share/doc"
)

// Installed are the distribution's packages in an image: of a root that is made of
// packages' files, each in a file of its own; else of a base, all in one. It is empty
// for an image of no distribution that is known here.
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

// statusOf are the control files of an image's packages by their names.
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
