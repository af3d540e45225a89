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

// differing is the part of has around the first byte that differs from want.
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

// check returns the first invalid part of a lock and why it is invalid.
func (l Lock) check() (string, error) {
	_, offset := l.Source.Time.Zone()
	switch s := l.Source; {
	case s.Repository == "":
		return "source.repository", errors.New("missing")
	case !gitID.MatchString(s.Commit):
		return "source.commit", fmt.Errorf("%q is not a full commit id", s.Commit)
	case s.Tree != "" && !gitID.MatchString(s.Tree):
		return "source.tree", fmt.Errorf("%q is not a git tree id", s.Tree)
	case s.Time.IsZero():
		return "source.time", errors.New("missing")
	case offset != 0 || s.Time.Nanosecond() != 0:
		return "source.time", fmt.Errorf("%s is not in UTC and whole seconds", s.Time.Format(time.RFC3339Nano))
	case s.Depth < 0:
		return "source.depth", fmt.Errorf("%d is not a number of commits", s.Depth)
	case s.UILock != "" && !sha256Digest.MatchString(s.UILock):
		return "source.ui_lock", fmt.Errorf("%q is not a digest", s.UILock)
	case !sha256Digest.MatchString(l.Recipe.Scripts):
		return "recipe.scripts", fmt.Errorf("%q is not a digest", l.Recipe.Scripts)
	case len(l.Platforms) == 0:
		return "platforms", errors.New("missing")
	}
	if part, err := l.Request.check(); err != nil {
		return "request." + part, err
	}
	for _, name := range slices.Sorted(maps.Keys(l.Platforms)) {
		at := "platforms." + name
		if !slices.Contains(Platforms, name) {
			return at, fmt.Errorf("unknown platform; must be one of %s", strings.Join(Platforms, ", "))
		}
		if b := l.Platforms[name].Builder; b != "" && (b == name || !slices.Contains(Platforms, b)) {
			return at + ".builder", fmt.Errorf("%q is not a platform other than the image's; one of %s", b, strings.Join(Platforms, ", "))
		}
		if part, err := l.Platforms[name].check(); err != nil {
			return at + "." + part, err
		}
		// An empty set pins nothing: its step would take what the archives have now.
		switch sets := l.Platforms[name].Packages; {
		case len(sets.UI) == 0 && l.Source.UILock != "":
			return at + ".packages.ui", errors.New("missing, so the packages that build the web UI are not pinned")
		case len(sets.Accelerator) == 0 && DeviceOf(l.Request.Variant) != "":
			return at + ".packages.accelerator", fmt.Errorf("missing, so the packages that compile for %s are not pinned", l.Request.Variant)
		}
		if _, err := l.request(name).Normalise(); err != nil {
			return "request", errors.Unwrap(err)
		}
	}
	return l.Model.check()
}

// check returns the first invalid part of a model. A lock without a model is valid.
func (m LockModel) check() (string, error) {
	switch {
	case reflect.ValueOf(m).IsZero():
		return "", nil
	case m.Ref == "":
		return "model.ref", errors.New("missing")
	case m.Pinned == "":
		return "model.pinned", errors.New("missing")
	case m.Commit != "" && !gitID.MatchString(m.Commit):
		return "model.commit", fmt.Errorf("%q is not a full commit id", m.Commit)
	case len(m.Files) == 0:
		return "model.files", errors.New("missing")
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		switch {
		case !fs.ValidPath(f.Path) || f.Path == ".":
			return "model.files", fmt.Errorf("%q is not a path in a repository", f.Path)
		case seen[f.Path]:
			return "model.files", fmt.Errorf("duplicate %s", f.Path)
		case f.Size <= 0:
			return "model.files", fmt.Errorf("%s: size must be positive, got %d", f.Path, f.Size)
		case !sha256Hex.MatchString(f.SHA256):
			return "model.files", fmt.Errorf("%s: %q is not a sha256", f.Path, f.SHA256)
		}
		seen[f.Path] = true
	}
	return "", nil
}

// check refuses values that mean something else on another machine or another day.
func (r LockRequest) check() (string, error) {
	members, err := findVariants(r.Variant)
	switch {
	case err != nil:
		return "variant", err
	case len(members) > 1:
		return "variant", fmt.Errorf("%q is a family of variants, not one variant", r.Variant)
	case r.CPU == CPUNative:
		return "cpu", fmt.Errorf("%q means another level on each machine", r.CPU)
	case slices.Contains(r.CUDAArch, CUDAAuto) || slices.Contains(r.CUDAArch, CUDAAll):
		return "cuda_arch", fmt.Errorf("%q does not name architectures", r.CUDAArch)
	}
	toolkit := ""
	if a := members[0].Accelerator; a != nil && a.CUDA != nil {
		toolkit = a.CUDA.Version
	}
	if r.CUDA != toolkit {
		return "cuda", fmt.Errorf("got toolkit %q, but variant %s has %q", r.CUDA, r.Variant, toolkit)
	}
	if toolkit != "" && len(r.CUDAArch) == 0 {
		return "cuda_arch", errors.New("missing")
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
			return base.name, errors.New("ref is missing")
		case !sha256Digest.MatchString(base.Digest):
			return base.name, fmt.Errorf("%q is not a digest, so the image is not pinned", base.Digest)
		}
	}
	for _, s := range p.Snapshots {
		if !snapshotURL.MatchString(s) {
			return "snapshots", fmt.Errorf("%q is not an http or https URL", s)
		}
	}
	switch {
	case len(p.Packages.Toolchain) == 0:
		return "packages.toolchain", errors.New("missing, so the compilers are not pinned")
	case len(p.Packages.Runtime) == 0 && p.Runtime.Ref == "":
		return "packages.runtime", errors.New("missing, and the lock has no runtime_base")
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

// checkPackages checks one set: no duplicates, sorted by name, different file names.
func checkPackages(all []Package) error {
	files := map[string]string{}
	for i, p := range all {
		if err := p.check(); err != nil {
			return err
		}
		if i > 0 && all[i-1].Name >= p.Name {
			if all[i-1].Name == p.Name {
				return fmt.Errorf("duplicate %s", p.Name)
			}
			return fmt.Errorf("%s comes after %s: not sorted by name", p.Name, all[i-1].Name)
		}
		// A step has all files of a set in one folder.
		file := path.Base(p.Path)
		if other, ok := files[file]; ok {
			return fmt.Errorf("%s and %s have the same file name %s", other, p.Name, file)
		}
		files[file] = p.Name
	}
	return nil
}

// check validates the fields of a pinned package.
func (p Package) check() error {
	switch {
	case !debName.MatchString(p.Name):
		return fmt.Errorf("%q is not a package name", p.Name)
	case !debVersion.MatchString(p.Version):
		return fmt.Errorf("%s: %q is not a version", p.Name, p.Version)
	case !debArch.MatchString(p.Architecture):
		return fmt.Errorf("%s: %q is not an architecture", p.Name, p.Architecture)
	case !sha256Hex.MatchString(p.SHA256):
		return fmt.Errorf("%s: %q is not a sha256", p.Name, p.SHA256)
	case !poolPath.MatchString(p.Path) || path.Clean(p.Path) != p.Path:
		return fmt.Errorf("%s: %q is not a path in an archive", p.Name, p.Path)
	case p.Size <= 0:
		return fmt.Errorf("%s: size must be positive, got %d", p.Name, p.Size)
	}
	return nil
}
