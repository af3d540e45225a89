package base

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/llorch/llorch-bk/images/fault"
)

// Epoch is the time in bootstrapped images: the day of trixie's release. It is fixed, so
// that the clock does not change the image's digest.
var Epoch = time.Date(2025, time.August, 9, 0, 0, 0, 0, time.UTC)

// Options say what to bootstrap and where to store it.
type Options struct {
	// Dir is the cache folder for base images. It is created if missing.
	Dir string
	// Suite is a Debian release; empty means DefaultSuite.
	Suite string
	// Arch is an architecture in Go's spelling; empty means this machine's.
	Arch string
	// Log receives mmdebstrap's lines as they are printed; nil drops them.
	Log func(string)
	// Epoch is the latest time in the image; zero means the package's Epoch.
	Epoch time.Time
	// Program is mmdebstrap's name or path; empty means "mmdebstrap".
	Program string
	// Env is the environment of mmdebstrap, including proxies; nil means this process's.
	Env []string
	// Host is the file system whose apt configuration names a reachable mirror; nil means
	// this machine's.
	Host fs.FS

	// root says that this process is root. Then mmdebstrap needs no user namespaces.
	root bool
}

func (o Options) withDefaults() Options {
	if o.Suite == "" {
		o.Suite = DefaultSuite
	}
	if o.Arch == "" {
		o.Arch = hostArch()
	}
	if o.Epoch.IsZero() {
		o.Epoch = Epoch
	}
	if o.Program == "" {
		o.Program = "mmdebstrap"
	}
	if o.Host == nil {
		o.Host = os.DirFS("/")
	}
	o.root = os.Geteuid() == 0
	return o
}

func (o Options) key() string    { return o.Suite + "-" + o.Arch }
func (o Options) layout() string { return filepath.Join(o.Dir, o.key()) }

// scratchPrefix is the prefix of unfinished layouts' names.
func (o Options) scratchPrefix() string { return ".making-" + o.key() + "-" }

// Bootstrap returns the image of a suite and makes it if it does not exist. The layout
// appears complete or not at all, and concurrent callers make it once. When ctx ends,
// mmdebstrap is stopped and its files are removed.
func Bootstrap(ctx context.Context, o Options) (Base, error) {
	o = o.withDefaults()
	if strings.ContainsAny(o.key(), "/\\ ") {
		return Base{}, fault.New(fault.Usage, fmt.Sprintf("cannot bootstrap Debian %q for %q", o.Suite, o.Arch), nil,
			"name a release such as "+DefaultSuite)
	}
	return o.locked(ctx, func(scratch string) (string, error) { return o.make(ctx, scratch) })
}

// locked returns a suite's layout. If there is none, make creates it in a scratch folder.
// It appears complete or not at all, and concurrent callers make it once.
func (o Options) locked(ctx context.Context, make func(scratch string) (string, error)) (_ Base, err error) {
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return Base{}, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return Base{}, fault.New(fault.Machine, "cannot use the folder for base images", err, "make "+o.Dir+" writable")
	}
	lock := flock.New(filepath.Join(o.Dir, ".lock-"+o.key()))
	if _, err := lock.TryLockContext(ctx, 200*time.Millisecond); err != nil {
		return Base{}, fmt.Errorf("wait for another bootstrap of %s: %w", o.Suite, err)
	}
	defer lock.Close()

	b, found, err := Find(o.Dir, o.Suite, o.Arch)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return Base{}, err
	}
	if found {
		return b, nil
	}
	if err := o.sweep(); err != nil {
		return Base{}, err
	}
	scratch, err := os.MkdirTemp(o.Dir, o.scratchPrefix())
	if err != nil {
		return Base{}, explain(o, nil, err)
	}
	defer func() { err = errors.Join(err, remove(scratch)) }()
	made, err := make(scratch)
	if err != nil {
		return Base{}, err
	}
	if err := replace(made, o.layout(), filepath.Join(scratch, "damaged")); err != nil {
		return Base{}, explain(o, nil, err)
	}
	b, _, err = Find(o.Dir, o.Suite, o.Arch)
	return b, err
}

// sweep removes the leftovers of a killed bootstrap. It runs under the lock, so nothing
// unfinished is still in use.
func (o Options) sweep() error {
	left, err := filepath.Glob(filepath.Join(o.Dir, o.scratchPrefix()+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := remove(dir); err != nil {
			return err
		}
	}
	return nil
}

// make bootstraps into a layout in the scratch folder.
func (o Options) make(ctx context.Context, scratch string) (string, error) {
	// mmdebstrap's own folder and the layout are separate, so that the folder that is
	// renamed at the end has only the layout.
	work := filepath.Join(scratch, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", explain(o, nil, err)
	}
	from := hostSources(o.Host)
	made, lines, err := o.attempt(ctx, from, work, filepath.Join(scratch, "layout"))
	if err != nil && ctx.Err() == nil && from.security != "" && blames(lines, from.security) {
		if o.Log != nil {
			o.Log("cannot use the security archive " + from.security + ": bootstrapping without its updates")
		}
		from.security = ""
		made, lines, err = o.attempt(ctx, from, work, filepath.Join(scratch, "layout-without-security"))
	}
	if err != nil {
		return "", explain(o, lines, err)
	}
	return made, nil
}

// attempt bootstraps from one set of sources into a new layout.
func (o Options) attempt(ctx context.Context, from sources, work, layout string) (string, []string, error) {
	if err := os.Mkdir(layout, 0o755); err != nil {
		return "", nil, err
	}
	w, err := newLayoutWriter(layout, Base{Ref: RefFor(o.Suite), Suite: o.Suite, Arch: o.Arch})
	if err != nil {
		return "", nil, err
	}
	// The layer is committed before mmdebstrap's exit status is known. The layout has no
	// index until finish, and is dropped if mmdebstrap failed.
	lines, err := runMmdebstrap(ctx, o, from, work, func(tarball io.Reader) error {
		return w.layer(ctx, func(dst io.Writer) error { return rewrite(dst, tarball, o.Epoch) })
	})
	if err != nil {
		return "", lines, err
	}
	return layout, lines, w.finish(ctx, o.Epoch)
}

// replace moves a finished layout to its final path. A damaged one at that path
// is first moved to backup, because a folder cannot be renamed over another.
func replace(made, place, backup string) error {
	if err := os.Rename(place, backup); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(made, place)
}

// remove deletes a scratch folder. If a killed bootstrapper has left something of this machine
// mounted inside, the folder stays: deleting it would delete through the mount.
func remove(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil {
		for line := range strings.Lines(string(mounts)) {
			if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
				return fault.New(fault.Machine, "cannot clean up "+dir, fmt.Errorf("%s is still mounted", f[4]), "umount "+f[4])
			}
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clean up after a bootstrap: %w", err)
	}
	return nil
}
