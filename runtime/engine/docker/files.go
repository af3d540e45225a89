package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/docker/docker/api/types/mount"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
)

// placeFiles makes the Spec's files visible to the server: as they are where the engine
// sees them and the server's user is proven to read them, else as copies. A secret is
// copied nowhere but into its container, once that is made: these come back as secrets.
func (p *placer) placeFiles(ctx context.Context) (mounts []mount.Mount, secrets []shown, err error) {
	for _, group := range groups(p.s.Files) {
		more, secret, err := p.placeGroup(ctx, group)
		if err != nil {
			return nil, nil, err
		}
		mounts = append(mounts, more...)
		if secret != nil {
			secrets = append(secrets, *secret)
		}
	}
	return mounts, secrets, nil
}

// groups are the files by the folder in which the server finds them.
func groups(files []engine.File) [][]engine.File {
	var out [][]engine.File
	for _, f := range files {
		i := slices.IndexFunc(out, func(g []engine.File) bool { return path.Dir(g[0].Path) == path.Dir(f.Path) })
		if i < 0 {
			out = append(out, nil)
			i = len(out) - 1
		}
		out[i] = append(out[i], f)
	}
	return out
}

// placeGroup places the files of one folder.
func (p *placer) placeGroup(ctx context.Context, group []engine.File) ([]mount.Mount, *shown, error) {
	first := group[0]
	if first.Folder {
		mounts, err := p.placeFolder(ctx, first)
		return mounts, nil, err
	}
	what, err := shownFiles(group)
	if err != nil {
		return nil, nil, err
	}
	one := *p
	one.shown = what
	if !first.Secret {
		mounts, err := one.place(ctx)
		return mounts, nil, err
	}
	if p.d.endpoint.Local {
		mounts, err := one.bind(ctx)
		if err == nil {
			err = one.prove(ctx, mounts, one.files)
		}
		if err == nil {
			return mounts, nil, nil
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
	}
	_, gid, err := idsOf(p.s.User)
	if err != nil {
		return nil, nil, err
	}
	for i := range what.files {
		what.files[i].group = gid
	}
	// Without a name it is removed together with its container.
	return []mount.Mount{{
		Type: mount.TypeVolume, Target: what.root,
		VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: map[string]string{LabelRole: RoleSecret}},
	}}, &what, nil
}

// shownFiles looks up files that belong together.
func shownFiles(group []engine.File) (shown, error) {
	first := group[0]
	out := shown{host: first.Host, root: path.Dir(first.Path), read: first.Path, plain: true}
	h := sha256.New()
	fmt.Fprint(h, "files 1\x00")
	for _, f := range group {
		info, err := os.Stat(f.Host)
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is no file", f.Host)
		}
		if err != nil {
			return shown{}, fault.New(fault.Usage, f.Host+" is not on this machine any more", err, "check the path")
		}
		out.files = append(out.files, modelFile{host: f.Host, rel: path.Base(f.Path), size: info.Size()})
		fmt.Fprintf(h, "%s\x00%d\x00%s\x00", path.Base(f.Path), info.Size(), f.Digest)
		if f.Digest == "" {
			fmt.Fprintf(h, "%s@%d\x00", f.Host, info.ModTime().UnixNano())
		}
	}
	out.key = hex.EncodeToString(h.Sum(nil))
	return out, nil
}

// placeFolder shows a folder of the host as it is. It is never copied: it may hold
// anything, and change.
func (p *placer) placeFolder(ctx context.Context, f engine.File) ([]mount.Mount, error) {
	if !p.d.endpoint.Local {
		return nil, fault.New(fault.Machine, "the server cannot be given the folder "+f.Host, fmt.Errorf("the engine at %s does not see this machine's folders", p.d.endpoint.Host),
			"leave out the flag that names it, or run on this machine's own engine")
	}
	mounts := []mount.Mount{{Type: mount.TypeBind, Source: f.Host, Target: f.Path, ReadOnly: true}}
	at := p.base
	at.Mounts = mounts
	err := p.seesFolder(ctx, at, f.Path)
	if err == nil {
		return mounts, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, fault.New(fault.Engine, "the server cannot be given the folder "+f.Host, err, "see whether the engine may see that folder, and whether it is there")
}

// seesFolder is nil where a container has a folder at a path.
func (p *placer) seesFolder(ctx context.Context, at Placement, dir string) (err error) {
	id, err := p.d.create(ctx, helper(p.s, at, []string{dir}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.d.discard(ctx, id)) }()
	st, err := p.d.api.ContainerStatPath(ctx, id, dir)
	if err == nil && !st.Mode.IsDir() {
		err = fmt.Errorf("%s is no folder there", dir)
	}
	return err
}

// stateMounts is the volume for what a Spec's server writes.
func stateMounts(s engine.Spec) []mount.Mount {
	if len(s.Volumes) == 0 {
		return nil
	}
	return []mount.Mount{{
		Type: mount.TypeVolume, Source: s.Of().Name() + "-state", Target: engine.StateRoot,
		VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: map[string]string{
			LabelRole: RoleState, LabelPool: s.Pool, LabelReplica: s.Replica, LabelProject: s.Project,
		}},
	}}
}
