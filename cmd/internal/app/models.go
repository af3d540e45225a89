package app

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// fetcher returns a model fetcher that is configured from the environment.
func (a *App) fetcher(p model.Progress) (*model.Fetcher, error) {
	env, err := model.FromEnv(a.Getenv)
	if err != nil {
		return nil, err
	}
	if env.Update, err = model.ParseUpdate(a.ModelUpdate); err != nil {
		return nil, err
	}
	models, err := store.Open(env.StoreDir)
	if err != nil {
		return nil, err
	}
	f := &model.Fetcher{Environment: env, Store: models, Progress: p}
	// Without a cache folder, files are read for their hash each time.
	if dir, err := a.CacheDir(); err == nil {
		f.HashDir = filepath.Join(dir, "hashes")
	}
	return f, nil
}

// Pulled is a model on this host.
type Pulled struct {
	Ref    string `json:"ref"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	Commit string `json:"commit,omitempty"`
	Shards int    `json:"shards"`
	// Companions are what belongs to it.
	Companions []engine.Companion `json:"companions,omitempty"`
}

// PullModel downloads a model, unless it is on this host, with its companions or alone.
func (a *App) PullModel(ctx context.Context, raw string, alone bool) (Pulled, error) {
	ref, err := model.Parse(raw)
	if err != nil {
		return Pulled{}, err
	}
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return Pulled{}, err
	}
	defer d.Close()
	f, err := a.fetcher(modelProgress{d})
	if err != nil {
		return Pulled{}, err
	}
	l, err := f.Fetch(ctx, ref)
	if err != nil {
		return Pulled{}, interrupted(ctx, err)
	}
	out := Pulled{Ref: ref.Raw, Path: l.Path, Size: l.Size, SHA256: l.SHA256, Commit: l.Commit, Shards: l.Shards}
	found, err := gather(ctx, f, company{alone: alone}, nil, l)
	for _, c := range found {
		out.Companions = append(out.Companions, c.Companion)
	}
	return out, interrupted(ctx, err)
}

// Models lists the models in the store.
func (a *App) Models() ([]store.Stored, error) {
	f, err := a.fetcher(nil)
	if err != nil {
		return nil, err
	}
	all, err := f.Store.List()
	return all, storeFault(f.Store, err)
}

func storeFault(s *store.Store, err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Model, "cannot read the model store "+s.Dir(), err, diskAdvice(s.Dir(), otherModels, err))
}

// named finds the stored models with these names; no names mean all models.
func named(s *store.Store, words []string) ([]store.Stored, error) {
	if len(words) == 0 {
		all, err := s.List()
		return all, storeFault(s, err)
	}
	var out []store.Stored
	seen := map[string]bool{}
	for _, w := range words {
		found, err := s.Find(w)
		if err != nil {
			return nil, storeFault(s, err)
		}
		if len(found) == 0 {
			return nil, fault.New(fault.Usage, "the store has no model "+w, nil, "list the models with llorch-bk model ls")
		}
		for _, m := range found {
			if !seen[m.Path] {
				seen[m.Path] = true
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// Verified is the result of verifying one model.
type Verified struct {
	Ref string `json:"ref"`
	// Wrong lists what does not match; empty for an intact model.
	Wrong []string `json:"wrong,omitempty"`
	// Repaired is true if the model was downloaded again.
	Repaired bool `json:"repaired,omitempty"`
}

// VerifyModels verifies the named models, or all. With repair, it removes changed models
// and downloads them again.
func (a *App) VerifyModels(ctx context.Context, words []string, repair bool) ([]Verified, error) {
	d, err := OpenDisplay(a.Err, a.Progress)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	f, err := a.fetcher(modelProgress{d})
	if err != nil {
		return nil, err
	}
	all, err := named(f.Store, words)
	if err != nil {
		return nil, err
	}
	out := make([]Verified, 0, len(all))
	var bad []string
	for _, m := range all {
		v := Verified{Ref: m.Ref}
		if v.Wrong, err = f.Verify(ctx, m); err != nil {
			return out, interrupted(ctx, err)
		}
		if len(v.Wrong) > 0 && repair {
			if err := repairModel(ctx, f, m); err != nil {
				return append(out, v), interrupted(ctx, err)
			}
			v.Repaired = true
		}
		if len(v.Wrong) > 0 && !v.Repaired {
			bad = append(bad, m.Ref+": "+strings.Join(v.Wrong, "; "))
		}
		out = append(out, v)
	}
	if len(bad) > 0 {
		return out, fault.New(fault.Model, "some models have changed since their download", errors.New(strings.Join(bad, "; ")),
			"download them again with llorch-bk model verify --repair")
	}
	return out, nil
}

// repairModel downloads a model again.
func repairModel(ctx context.Context, f *model.Fetcher, m store.Stored) error {
	from, err := ref.Parse(m.Ref)
	if err != nil || from.Kind == ref.File {
		return fault.New(fault.Model, "cannot download "+m.Ref+" again", errors.New("the store has no record of its source"), "remove it with llorch-bk model rm "+filepath.Base(m.Path)+", and pull it again")
	}
	if f.Environment.Offline {
		return fault.New(fault.Model, "cannot download "+m.Ref+" again", errors.New("HF_HUB_OFFLINE is set"), "unset HF_HUB_OFFLINE")
	}
	return f.Refetch(ctx, m, from)
}
