package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model"
)

// lockModel returns the model for a lock: looked up if it is new or to be updated, else the
// old lock's.
func (a *App) lockModel(ctx context.Context, d *Display, opt LockOptions, old images.LockModel) (images.LockModel, error) {
	raw := opt.Model
	switch {
	case opt.Update != "" && opt.Update != LockModel:
		return old, nil
	case raw == "" && (opt.Check || opt.Update == LockModel):
		raw = old.Ref
	}
	if raw == "" {
		if opt.Update == LockModel {
			return old, fault.New(fault.Usage, "the lock has no model", nil, "name one: llorch-bk lock --update model --model REF")
		}
		return images.LockModel{}, nil
	}
	ref, err := model.Parse(raw)
	if err != nil {
		return images.LockModel{}, err
	}
	f, err := a.fetcher(modelProgress{d})
	if err != nil {
		return images.LockModel{}, err
	}
	ref = f.Meant(ref)
	id, err := f.Identify(ctx, ref)
	if err != nil {
		return images.LockModel{}, err
	}
	m := images.LockModel{Ref: ref.Raw, Pinned: ref.Pinned(id), Commit: id.Commit}
	for _, file := range id.Files {
		m.Files = append(m.Files, images.LockFileHash{Path: file.Path, Size: file.Size, SHA256: file.SHA256})
	}
	return m, nil
}

// lockedModel returns the model that a build's lock names, if any; given is true if the
// user named a model on the command line. An offline build uses the bundle's lock, and
// serves the user's model instead if one is given.
func (a *App) lockedModel(build BuildOptions, given bool) (images.LockModel, error) {
	switch {
	case build.Offline && given:
		return images.LockModel{}, nil
	case build.Offline:
		o, err := a.openOffline(build)
		if err != nil {
			return images.LockModel{}, err
		}
		return o.lock.Model, nil
	case build.Locked == "":
		return images.LockModel{}, nil
	}
	lock, err := openLock(build.Locked)
	if err != nil {
		return images.LockModel{}, err
	}
	if lock.Model.Pinned != "" && given {
		return images.LockModel{}, fault.New(fault.Usage, "--locked and --model cannot be used together", errors.New("the lock names the model"),
			"remove --model, or update the lock with llorch-bk lock --update model --model REF")
	}
	return lock.Model, nil
}

// keepToModel refuses a model on this host that differs from the lock's. A ref with a hash
// was verified already; a model in several files has no such hash.
func (a *App) keepToModel(ctx context.Context, d *Display, locked images.LockModel, l model.Local) error {
	if len(locked.Files) == 0 {
		return nil
	}
	f, err := a.fetcher(modelProgress{d})
	if err != nil {
		return err
	}
	id, err := f.IdentityOf(ctx, l)
	if err != nil {
		return fault.New(fault.Model, "cannot read the model", err, "")
	}
	differs := func(part string, has, want any) error {
		return fault.New(fault.Model, "cannot use the lock: model."+part, fmt.Errorf("the lock has %v, the repository %v", want, has), "lock the current model with llorch-bk lock --update model")
	}
	if len(id.Files) != len(locked.Files) {
		return differs("files", len(id.Files), len(locked.Files))
	}
	for i, want := range locked.Files {
		if has := id.Files[i]; has.SHA256 != want.SHA256 || has.Size != want.Size {
			return differs("files."+want.Path, fmt.Sprintf("%s of %d bytes", has.SHA256, has.Size), fmt.Sprintf("%s of %d bytes", want.SHA256, want.Size))
		}
	}
	return nil
}
