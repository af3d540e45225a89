package images

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// differing is a piece of has from about where it is no longer as want is.
func differing(has, want []byte) []byte {
	at := 0
	for at < min(len(has), len(want)) && has[at] == want[at] {
		at++
	}
	return has[max(0, at-30):min(len(has), at+30)]
}

var (
	gitID        = regexp.MustCompile(`^[0-9a-f]{40}$`)
	sha256Digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	sha256Hex    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	debName      = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	debVersion   = regexp.MustCompile(`^[A-Za-z0-9.+:~-]+$`)
	debArch      = regexp.MustCompile(`^[a-z0-9-]+$`)
	snapshotURL  = regexp.MustCompile(`^https?://[^\s'"]+$`)
	poolPath     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._%~/-]*\.deb$`)
)

// check names the part of a lock that cannot be right.
func (l Lock) check() (string, error) {
	_, offset := l.Source.Time.Zone()
	switch s := l.Source; {
	case s.Repository == "":
		return "source.repository", errors.New("it is empty")
	case !gitID.MatchString(s.Commit):
		return "source.commit", fmt.Errorf("%q is no full commit id", s.Commit)
	case s.Tree != "" && !gitID.MatchString(s.Tree):
		return "source.tree", fmt.Errorf("%q is no id of git's", s.Tree)
	case s.Time.IsZero():
		return "source.time", errors.New("there is none")
	case offset != 0 || s.Time.Nanosecond() != 0:
		return "source.time", fmt.Errorf("%s is not in UTC and whole seconds", s.Time.Format(time.RFC3339Nano))
	case s.Depth < 0:
		return "source.depth", fmt.Errorf("%d is no number of commits", s.Depth)
	case s.UILock != "" && !sha256Digest.MatchString(s.UILock):
		return "source.ui_lock", fmt.Errorf("%q is no digest", s.UILock)
	case !sha256Digest.MatchString(l.Recipe.Scripts):
		return "recipe.scripts", fmt.Errorf("%q is no digest", l.Recipe.Scripts)
	case len(l.Platforms) == 0:
		return "platforms", errors.New("there is none")
	}
	if part, err := l.Request.check(); err != nil {
		return "request." + part, err
	}
	for _, name := range slices.Sorted(maps.Keys(l.Platforms)) {
		at := "platforms." + name
		if !slices.Contains(Platforms, name) {
			return at, fmt.Errorf("it is not one of %s", strings.Join(Platforms, ", "))
		}
		if b := l.Platforms[name].Builder; b != "" && (b == name || !slices.Contains(Platforms, b)) {
			return at + ".builder", fmt.Errorf("%q is no other one of %s", b, strings.Join(Platforms, ", "))
		}
		if part, err := l.Platforms[name].check(); err != nil {
			return at + "." + part, err
		}
		// A set that is empty is no set that is pinned: its step would ask the archives.
		switch sets := l.Platforms[name].Packages; {
		case len(sets.UI) == 0 && l.Source.UILock != "":
			return at + ".packages.ui", errors.New("there is none, so nothing says what builds the web UI")
		case len(sets.Accelerator) == 0 && DeviceOf(l.Request.Variant) != "":
			return at + ".packages.accelerator", fmt.Errorf("there is none, so nothing says what compiles for %s", l.Request.Variant)
		}
		if _, err := l.request(name).Normalise(); err != nil {
			return "request", errors.Unwrap(err)
		}
	}
	return l.Model.check()
}

// check names what cannot be right about a model, if there is one.
func (m LockModel) check() (string, error) {
	switch {
	case reflect.ValueOf(m).IsZero():
		return "", nil
	case m.Ref == "":
		return "model.ref", errors.New("it is empty")
	case m.Pinned == "":
		return "model.pinned", errors.New("it is empty")
	case m.Commit != "" && !gitID.MatchString(m.Commit):
		return "model.commit", fmt.Errorf("%q is no full commit id", m.Commit)
	case len(m.Files) == 0:
		return "model.files", errors.New("there is none")
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		switch {
		case !fs.ValidPath(f.Path) || f.Path == ".":
			return "model.files", fmt.Errorf("%q is no path in a repository", f.Path)
		case seen[f.Path]:
			return "model.files", fmt.Errorf("%s is there twice", f.Path)
		case f.Size <= 0:
			return "model.files", fmt.Errorf("%s: a size of %d", f.Path, f.Size)
		case !sha256Hex.MatchString(f.SHA256):
			return "model.files", fmt.Errorf("%s: %q is no sha256", f.Path, f.SHA256)
		}
		seen[f.Path] = true
	}
	return "", nil
}

// check refuses what another machine, or another day, would understand otherwise.
func (r LockRequest) check() (string, error) {
	members, err := findVariants(r.Variant)
	switch {
	case err != nil:
		return "variant", err
	case len(members) > 1:
		return "variant", fmt.Errorf("%q is one of several, which are not pinned", r.Variant)
	case r.CPU == CPUNative:
		return "cpu", fmt.Errorf("%q is another level on each machine", r.CPU)
	case slices.Contains(r.CUDAArch, CUDAAuto) || slices.Contains(r.CUDAArch, CUDAAll):
		return "cuda_arch", fmt.Errorf("%q names no architecture", r.CUDAArch)
	}
	toolkit := ""
	if a := members[0].Accelerator; a != nil && a.CUDA != nil {
		toolkit = a.CUDA.Version
	}
	if r.CUDA != toolkit {
		return "cuda", fmt.Errorf("%q is not what the variant %s has, %q", r.CUDA, r.Variant, toolkit)
	}
	if toolkit != "" && len(r.CUDAArch) == 0 {
		return "cuda_arch", errors.New("there is none")
	}
	return "", nil
}

func (p LockPlatform) check() (string, error) {
	for _, base := range []struct {
		name string
		BaseFacts
	}{{"build_base", p.Build}, {"runtime_base", p.Runtime}, {"accelerator_base", p.Accelerator}} {
		switch {
		case base.name != "build_base" && reflect.ValueOf(base.BaseFacts).IsZero():
		case base.Ref == "":
			return base.name, errors.New("it has no name")
		case !sha256Digest.MatchString(base.Digest):
			return base.name, fmt.Errorf("%q is no digest, without which it is not pinned", base.Digest)
		}
	}
	for _, s := range p.Snapshots {
		if !snapshotURL.MatchString(s) {
			return "snapshots", fmt.Errorf("%q is no address of an archive", s)
		}
	}
	switch {
	case len(p.Packages.Toolchain) == 0:
		return "packages.toolchain", errors.New("there is none, so nothing says what compiles")
	case len(p.Packages.Runtime) == 0 && p.Runtime.Ref == "":
		return "packages.runtime", errors.New("there is none, and no base to run on either")
	}
	for _, set := range []struct {
		name string
		all  []Package
	}{{"toolchain", p.Packages.Toolchain}, {"accelerator", p.Packages.Accelerator}, {"ui", p.Packages.UI}, {"runtime", p.Packages.Runtime}} {
		if err := checkPackages(set.all); err != nil {
			return "packages." + set.name, err
		}
	}
	return "", nil
}

// checkPackages looks at the packages of one set: each is there once, in the order of
// their names, and has a file of its own.
func checkPackages(all []Package) error {
	files := map[string]string{}
	for i, p := range all {
		if err := p.check(); err != nil {
			return err
		}
		if i > 0 && all[i-1].Name >= p.Name {
			if all[i-1].Name == p.Name {
				return fmt.Errorf("%s is there twice", p.Name)
			}
			return fmt.Errorf("%s comes after %s: they are not sorted by name", p.Name, all[i-1].Name)
		}
		// A step has all files of a set in one folder.
		file := path.Base(p.Path)
		if other, ok := files[file]; ok {
			return fmt.Errorf("%s and %s are both %s", other, p.Name, file)
		}
		files[file] = p.Name
	}
	return nil
}

// check says what cannot be right about a package that is pinned.
func (p Package) check() error {
	switch {
	case !debName.MatchString(p.Name):
		return fmt.Errorf("%q is no package's name", p.Name)
	case !debVersion.MatchString(p.Version):
		return fmt.Errorf("%s: %q is no version", p.Name, p.Version)
	case !debArch.MatchString(p.Architecture):
		return fmt.Errorf("%s: %q is no architecture", p.Name, p.Architecture)
	case !sha256Hex.MatchString(p.SHA256):
		return fmt.Errorf("%s: %q is no sha256", p.Name, p.SHA256)
	case !poolPath.MatchString(p.Path) || path.Clean(p.Path) != p.Path:
		return fmt.Errorf("%s: %q is no path in an archive", p.Name, p.Path)
	case p.Size <= 0:
		return fmt.Errorf("%s: a size of %d", p.Name, p.Size)
	}
	return nil
}
