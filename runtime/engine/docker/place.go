package docker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// marker is written to a volume after the model was copied completely.
const marker = ".llorch-complete"

// errUnreadable means that the model is visible, but the server's user may not read it.
// Another kind of mount would not help.
var errUnreadable = errors.New("the server's user cannot read it")

// placer makes a model visible to the server. It tries these ways in order, and takes the
// first that a test container can read: a named volume over the model's folder; the folder
// itself, which engines in virtual machines may share instead; a copy.
type placer struct {
	d     *Engine
	s     engine.Spec
	probe string
	base  Placement
	// shown is what is made visible.
	shown
}

// shown is a model, or another file for the server, with all that belongs to it.
type shown struct {
	// host is its path on the host, for people, and dir the folder that it is seen
	// through; empty shows its files alone.
	host, dir string
	// root is the folder in the container that the files are below, and read the path
	// there that the server gets.
	root, read string
	files      []modelFile
	// key identifies the content and layout of a copy.
	key string
	// plain says that it need not be a GGUF.
	plain bool
}

func (p *placer) place(ctx context.Context) ([]mount.Mount, error) {
	var errs []error
	unreadable := false
	for _, way := range []struct {
		name string
		// here is true for a way that needs an engine on this machine.
		here bool
		make func(context.Context) ([]mount.Mount, error)
	}{
		{"a volume over its folder", true, p.volume},
		{"a bind mount", true, p.bind},
		{"a copy in a volume", false, p.copy},
	} {
		if way.here && (unreadable || !p.d.endpoint.Local) {
			continue
		}
		mounts, err := way.make(ctx)
		if err == nil && mounts == nil {
			continue
		}
		if err == nil {
			err = p.prove(ctx, mounts, p.files)
		}
		if err == nil {
			return mounts, nil
		}
		if ctx.Err() != nil {
			return nil, errors.Join(context.Cause(ctx), fault.Leftovers(err))
		}
		unreadable = unreadable || errors.Is(err, errUnreadable)
		errs = append(errs, fmt.Errorf("as %s: %w", way.name, err))
	}
	if err := p.without(ctx); err != nil {
		return nil, err
	}
	return nil, fault.New(fault.Engine, "the container cannot be given "+p.what()+p.host, errors.Join(errs...), p.advice(errors.Join(errs...)))
}

// advice says what to do about files that the container cannot use, by the cause. Engines
// give no code for a full disk, only the kernel's text.
func (p *placer) advice(err error) string {
	switch {
	case errors.Is(err, errUnreadable):
		return "let the user " + p.s.User + " read " + p.host + " and its folder"
	case strings.Contains(err.Error(), "no space left on device"):
		return "free space on the engine's disk"
	}
	return ""
}

func (p *placer) what() string {
	if p.root == modelRoot {
		return "the model "
	}
	return ""
}

// without creates, and if possible starts, a container without the model. If that fails too,
// the model is not the cause, and without returns the real one.
func (p *placer) without(ctx context.Context) (err error) {
	id, err := p.d.create(ctx, helper(p.s, p.base, p.look()))
	if err != nil {
		return explain(p.s, err)
	}
	defer func() { err = errors.Join(err, p.d.discard(ctx, id)) }()
	if p.probe == "" {
		return nil
	}
	// Whether it finds the model does not matter: it has started.
	if err := p.d.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return explain(p.s, err)
	}
	return nil
}

// volume mounts the model's folder as a named volume. The name contains a hash of the
// folder, since an engine keeps a volume's first options.
func (p *placer) volume(ctx context.Context) ([]mount.Mount, error) {
	dir := p.dir
	if dir == "" {
		return nil, nil
	}
	sum := sha256.Sum256([]byte(dir))
	name := "llorch-model-" + hex.EncodeToString(sum[:6])
	opts := map[string]string{"type": "none", "o": "bind,ro", "device": dir}
	if _, err := p.d.api.VolumeCreate(ctx, volume.CreateOptions{
		Name: name, Driver: "local", DriverOpts: opts,
		Labels: map[string]string{LabelRole: RoleModel, LabelModelHost: dir},
	}); err != nil {
		return nil, err
	}
	v, err := p.d.api.VolumeInspect(ctx, name)
	if err != nil {
		return nil, err
	}
	for k, want := range opts {
		if v.Options[k] != want {
			return nil, fmt.Errorf("the volume %s exists with %s=%q instead of %q", name, k, v.Options[k], want)
		}
	}
	return p.named(name, true), nil
}

// look is the command of a helper that reads the first bytes, as far as the image can.
func (p *placer) look() []string {
	if p.probe == "" {
		return []string{p.read}
	}
	return []string{p.probe, "readable", p.read}
}

func (p *placer) named(volume string, readOnly bool) []mount.Mount {
	return []mount.Mount{{
		Type: mount.TypeVolume, Source: volume, Target: p.root, ReadOnly: readOnly,
		// Otherwise an engine may copy the image's files into an empty folder of the host.
		VolumeOptions: &mount.VolumeOptions{NoCopy: true},
	}}
}

// bind mounts the model's folder, or only its files if there is no folder.
func (p *placer) bind(context.Context) ([]mount.Mount, error) {
	if p.dir != "" {
		return []mount.Mount{{Type: mount.TypeBind, Source: p.dir, Target: p.root, ReadOnly: true}}, nil
	}
	var out []mount.Mount
	for _, f := range p.files {
		out = append(out, mount.Mount{Type: mount.TypeBind, Source: f.host, Target: path.Join(p.root, f.rel), ReadOnly: true})
	}
	return out, nil
}

// copy returns a volume with a copy of the model: an existing one, or a new one. A new copy
// gets its own volume, so that two copies at the same time cannot damage each other.
func (p *placer) copy(ctx context.Context) ([]mount.Mount, error) {
	key := p.key
	done := modelFile{rel: marker, size: int64(len(key))}
	list, err := p.d.api.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", LabelModelKey+"="+key))})
	if err != nil {
		return nil, err
	}
	for _, v := range list.Volumes {
		mounts := p.named(v.Name, true)
		if p.prove(ctx, mounts, append([]modelFile{done}, p.files...)) == nil {
			return mounts, nil
		}
	}
	var nonce [4]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("llorch-model-%s-%s", key[:12], hex.EncodeToString(nonce[:]))
	whole, cancel := detached(ctx, createPatience)
	defer cancel()
	if _, err := p.d.api.VolumeCreate(whole, volume.CreateOptions{
		Name: name, Driver: "local",
		Labels: map[string]string{LabelRole: RoleModel, LabelModelKey: key, LabelModelHost: p.host},
	}); err != nil {
		return nil, err
	}
	if err := p.fill(ctx, name); err != nil {
		return nil, errors.Join(err, p.d.dropVolume(ctx, name))
	}
	return p.named(name, true), nil
}

// dropVolume removes a volume, even after ctx has ended.
func (d *Engine) dropVolume(ctx context.Context, name string) error {
	clean, cancel := detached(ctx, createPatience)
	defer cancel()
	if err := d.api.VolumeRemove(clean, name, true); err != nil {
		return &fault.Leftover{What: "the volume " + name + " was not removed", Why: err, Do: "docker volume rm " + name}
	}
	return nil
}

// fill copies the files into a volume, through a container that never runs.
func (p *placer) fill(ctx context.Context, volume string) (err error) {
	at := p.base
	at.Mounts = p.named(volume, false)
	id, err := p.d.create(ctx, helper(p.s, at, []string{p.read}))
	if err != nil {
		return err
	}
	// The container must be removed before the volume can be.
	defer func() { err = errors.Join(err, p.d.discard(ctx, id)) }()
	if err := p.d.stream(ctx, id, p.root, p.files); err != nil {
		return err
	}
	mark, err := markerTar(p.key)
	if err != nil {
		return err
	}
	return p.d.api.CopyToContainer(ctx, id, p.root, mark, container.CopyToContainerOptions{})
}

// prove returns nil if a container with these mounts has the complete files and, if the
// image contains the probe, the server's user can read them.
func (p *placer) prove(ctx context.Context, mounts []mount.Mount, files []modelFile) (err error) {
	at := p.base
	at.Mounts = mounts
	if p.plain {
		at.LogDriver = "json-file" // which can be read
	}
	id, err := p.d.create(ctx, helper(p.s, at, p.look()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.d.discard(ctx, id)) }()
	for _, f := range files {
		size, err := p.d.sizeOf(ctx, id, path.Join(p.root, f.rel))
		if err != nil {
			return err
		}
		if size != f.size {
			return fmt.Errorf("%s: size mismatch: got %d bytes, want %d", f.rel, size, f.size)
		}
	}
	if p.probe == "" {
		return nil
	}
	err = p.d.runProbe(ctx, id, p.probe)
	if p.plain && errors.Is(err, errUnreadable) && p.d.sawNoGGUF(ctx, id) {
		return nil
	}
	return err
}

// sawNoGGUF says whether the probe has read a file and found that it is no GGUF, which
// it reports as it does a file that it cannot read.
func (d *Engine) sawNoGGUF(ctx context.Context, id string) bool {
	lines, err := d.output(ctx, id)
	return err == nil && slices.ContainsFunc(lines, func(l string) bool { return strings.HasSuffix(l, ": not a GGUF file") })
}

// runProbe starts a container whose exit code says whether the model can be read.
func (d *Engine) runProbe(ctx context.Context, id, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("reading the model's first bytes took more than 30 s"))
	defer cancel()
	if err := d.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return err
	}
	done, failed := d.api.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case r := <-done:
		switch r.StatusCode {
		case 0:
			return nil
		case 1:
			return errUnreadable
		}
		return fmt.Errorf("%s exited with code %d", name, r.StatusCode)
	case err := <-failed:
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
}

// sizeOf is the size of a file in a container; it follows links.
func (d *Engine) sizeOf(ctx context.Context, id, file string) (int64, error) {
	// An engine resolves a link completely; the other rounds are for unusual links.
	for range 3 {
		st, err := d.api.ContainerStatPath(ctx, id, file)
		if err != nil {
			return 0, err
		}
		if st.Mode&os.ModeSymlink == 0 {
			return st.Size, nil
		}
		file = st.LinkTarget
	}
	return 0, fmt.Errorf("%s has too many levels of symbolic links", file)
}
