package model

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// Companion fetches the file of a model's repository that belongs to it, as llama.cpp's
// own -hf chooses it. It is false where the repository has none of that kind, where its
// files cannot be listed, and for a model that is in no repository of the Hub. Failures are
// as Fetch's.
//
// The repository is asked once for each commit, and the answer is recorded.
func (f *Fetcher) Companion(ctx context.Context, l Local, kind gguf.Sidecar) (Local, bool, error) {
	if l.Ref.Kind != ref.Hub || l.Commit == "" || l.Ref.File == "" {
		return Local{}, false, nil
	}
	file, err := f.companionOf(ctx, l, kind)
	if err != nil || file == "" {
		return Local{}, false, err
	}
	r, err := ref.Parse(l.Ref.In(l.Commit, file))
	if err != nil {
		return Local{}, false, err
	}
	got, err := f.Fetch(ctx, r)
	return got, err == nil, err
}

// companionOf is the companion's path in the repository, empty for none.
func (f *Fetcher) companionOf(ctx context.Context, l Local, kind gguf.Sidecar) (string, error) {
	d := f.Store.Folder(l.Ref)
	if file, known := d.Companion(l.Commit, l.Ref.File, string(kind)); known {
		return file, nil
	}
	here := gguf.Beside(d.Files(l.Commit), l.Ref.File, kind, "")
	if f.Environment.Offline {
		return here, nil
	}
	at := l.Ref
	at.Revision = l.Commit
	list, err := f.list(ctx, at, f.retries(here != ""))
	switch {
	case err != nil && ctx.Err() != nil:
		return "", f.fault(ctx, l.Ref, err)
	case err != nil:
		// A mirror need not be able to list, and the model itself is here.
		task := f.begin("look for a companion of "+l.Ref.Repo, 0)
		task.Note(fmt.Sprintf("%v: whether the model has one (%s) cannot be told", err, kind))
		task.End(nil)
		return here, nil
	}
	file := gguf.Beside(list.Names(), l.Ref.File, kind, "")
	d.SetCompanion(l.Commit, l.Ref.File, string(kind), file)
	return file, nil
}

// Projector is the ref of the projector that a ref means: of a repository without a file,
// the one that is beside what the ref would mean as a model.
func (f *Fetcher) Projector(ctx context.Context, r Ref) (Ref, error) {
	if r.Kind != ref.Hub || r.File != "" {
		return r, nil
	}
	names, err := f.namesOf(ctx, r)
	if err != nil {
		return r, f.fault(ctx, r, err)
	}
	model, _, _ := gguf.Pick(names, r.Quant) // none is as well: then any projector is meant
	file := gguf.Beside(names, model, gguf.SidecarProjector, r.Quant)
	if file == "" {
		return r, fault.New(fault.Model, "model "+r.Raw, errors.New("the repository has no projector"), "name a file of another repository, as in hf:ORG/REPO/mmproj-F16.gguf")
	}
	r.File, r.Quant = file, ""
	return r, nil
}

// Sidecar is the ref of a draft that was made for another model, where a ref of a
// repository without a file means one: llama.cpp prefers it to a whole model. It is false
// where there is none.
func (f *Fetcher) Sidecar(ctx context.Context, r Ref) (Ref, gguf.Sidecar, bool, error) {
	if r.Kind != ref.Hub || r.File != "" {
		return r, "", false, nil
	}
	names, err := f.namesOf(ctx, r)
	if err != nil {
		return r, "", false, f.fault(ctx, r, err)
	}
	model, _, _ := gguf.Pick(names, r.Quant) // none is as well: then any head is meant
	for _, kind := range gguf.DraftSidecars {
		if file := gguf.Beside(names, model, kind, r.Quant); file != "" {
			r.File, r.Quant = file, ""
			return r, kind, true, nil
		}
	}
	return r, "", false, nil
}

// namesOf are the files of a repository: as the Hub lists them, else as the store has
// them.
func (f *Fetcher) namesOf(ctx context.Context, r Ref) ([]string, error) {
	d := f.Store.Folder(r)
	here := d.Files(d.CommitOf(r.Revision))
	if f.Environment.Offline {
		return here, nil
	}
	list, err := f.list(ctx, r, f.retries(len(here) > 0))
	if err != nil && len(here) > 0 && transfer.IsTransient(err) && ctx.Err() == nil {
		return here, nil
	}
	return list.Names(), err
}

// Beside records that a fetched file belongs to a fetched model of the same repository, so
// that both are listed and removed as one.
func (f *Fetcher) Beside(l, companion Local, kind gguf.Sidecar) {
	if l.Ref.Kind == ref.Hub && companion.Ref.Kind == ref.Hub && l.Ref.Repo == companion.Ref.Repo && l.Commit == companion.Commit {
		f.Store.Folder(l.Ref).SetCompanion(l.Commit, l.Ref.File, string(kind), companion.Ref.File)
	}
}

// ExamineAs reads the headers of a companion's files and checks all that a server relies
// on, as Examine does for a model, and that it is for one of these things; without any, for
// anything. What says in words what it is to be. The error is a Model fault.
func (l Local) ExamineAs(what string, want ...gguf.Role) (gguf.Facts, error) {
	var first gguf.Facts
	for i, name := range gguf.Parts(l.Path) {
		facts, err := gguf.ExamineFile(filepath.Join(filepath.Dir(l.Path), name))
		if err != nil {
			return first, fault.New(fault.Model, l.Ref.Raw+" cannot be "+what, err, l.advice(err))
		}
		if i == 0 {
			first = facts
		}
	}
	if role := first.Role(); len(want) > 0 && !slices.Contains(want, role) {
		return first, fault.New(fault.Model, l.Ref.Raw+" cannot be "+what, &roleError{role}, "name a file that can be "+what)
	}
	return first, nil
}
