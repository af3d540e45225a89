package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// fetcher gets models as the environment says.
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
	return &model.Fetcher{Environment: env, Store: models, Progress: p}, nil
}

// Pulled is a model that is on this host.
type Pulled struct {
	Ref    string `json:"ref"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	Commit string `json:"commit,omitempty"`
	Shards int    `json:"shards"`
}

// PullModel makes sure that a model is on this host.
func (a *App) PullModel(ctx context.Context, raw string) (Pulled, error) {
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
	return Pulled{Ref: ref.Raw, Path: l.Path, Size: l.Size, SHA256: l.SHA256, Commit: l.Commit, Shards: l.Shards}, nil
}

// Models are what the store has whole.
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
	return fault.New(fault.Model, "the model store at "+s.Dir()+" cannot be read", err, "check LLORCH_MODEL_DIR, and that the folder is this user's to read")
}

// named are the stored models that words mean; none of them means all.
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
			return nil, fault.New(fault.Usage, "the store has no model "+w, nil, "llorch-bk model ls shows what it has")
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

// Verified is what reading a model again said.
type Verified struct {
	Ref string `json:"ref"`
	// Wrong names what is not as it should be; empty where all is well.
	Wrong []string `json:"wrong,omitempty"`
	// Repaired is true where it was fetched anew.
	Repaired bool `json:"repaired,omitempty"`
}

// VerifyModels reads models of the store again, all of them where none is named.
// With repair, what is wrong is removed and fetched anew.
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
		return out, fault.New(fault.Model, "not every model is as it was fetched", errors.New(strings.Join(bad, "; ")),
			"llorch-bk model verify --repair fetches those anew")
	}
	return out, nil
}

// repairModel fetches a model anew.
func repairModel(ctx context.Context, f *model.Fetcher, m store.Stored) error {
	from, err := ref.Parse(m.Ref)
	if err != nil || from.Kind == ref.File {
		return fault.New(fault.Model, m.Ref+" cannot be fetched anew", errors.New("nobody wrote down where it is from"), "llorch-bk model rm "+filepath.Base(m.Path)+", and pull it again")
	}
	if f.Environment.Offline {
		return fault.New(fault.Model, m.Ref+" cannot be fetched anew", errors.New("HF_HUB_OFFLINE is set"), "unset it")
	}
	return f.Refetch(ctx, m, from)
}

// RemovedModel is a model or a broken-off download that was, or would be, removed.
type RemovedModel struct {
	Ref     string `json:"ref"`
	Bytes   int64  `json:"bytes"`
	Removed bool   `json:"removed"`
}

// RemoveModels takes models out of the store, unless a pool serves them.
func (a *App) RemoveModels(ctx context.Context, words []string) ([]RemovedModel, error) {
	f, err := a.fetcher(nil)
	if err != nil {
		return nil, err
	}
	all, err := named(f.Store, words)
	if err != nil {
		return nil, err
	}
	busy, err := a.served(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if pool := busy(m.Path); pool != "" {
			return nil, fault.New(fault.Usage, m.Ref+" is in use", fmt.Errorf("pool %s serves it", pool), "llorch-bk stop "+pool)
		}
	}
	return removeModels(f.Store, all, nil)
}

func removeModels(s *store.Store, all []store.Stored, partials []store.Partial) ([]RemovedModel, error) {
	var out []RemovedModel
	var errs []error
	for _, p := range partials {
		r := RemovedModel{Ref: p.Path, Bytes: p.Size}
		if err := os.Remove(p.Path); err != nil {
			errs = append(errs, err)
		} else {
			r.Removed = true
		}
		out = append(out, r)
	}
	for _, m := range all {
		freed, err := s.Remove(m)
		if err != nil {
			errs = append(errs, err)
		}
		out = append(out, RemovedModel{Ref: m.Ref, Bytes: freed, Removed: err == nil})
	}
	if len(errs) > 0 {
		return out, fault.New(fault.Model, "not everything could be removed", errors.Join(errs...), "check who owns "+s.Dir())
	}
	return out, nil
}

// served says of a model's path which pool's container has it; "" for none. Without
// an engine nothing is served.
func (a *App) served(ctx context.Context) (func(path string) string, error) {
	eng, err := a.engine(ctx)
	if err != nil {
		return func(string) string { return "" }, nil
	}
	defer eng.Close()
	list, err := eng.servers(nil).Observe(ctx, "")
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	return func(path string) string {
		for _, i := range list {
			if sameFile(i.ModelPath, path) {
				return i.Pool
			}
		}
		return ""
	}, nil
}

// sameFile says whether two names are of one file: two snapshots can show one blob.
func sameFile(a, b string) bool {
	if a == b {
		return a != ""
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// GCOptions say what a collection leaves.
type GCOptions struct {
	// Keep is how much the store may take, as 50GB.
	Keep string
	// Yes removes without asking, DryRun only says what would go.
	Yes, DryRun bool
}

// CollectModels removes the models that were not used for longest, until the store
// takes no more than asked, and downloads that were given up. Never one that a pool
// serves, and never a file of the user's own.
func (a *App) CollectModels(ctx context.Context, opt GCOptions) ([]RemovedModel, error) {
	keep, err := units.FromHumanSize(opt.Keep)
	if err != nil || keep < 0 {
		return nil, fault.New(fault.Usage, fmt.Sprintf("--keep %q is no size", opt.Keep), nil, "write it as 50GB")
	}
	f, err := a.fetcher(nil)
	if err != nil {
		return nil, err
	}
	busy, err := a.served(ctx)
	if err != nil {
		return nil, err
	}
	models, partials, err := f.Store.Collect(keep, func(path string) bool { return busy(path) != "" }, time.Now())
	if err != nil {
		return nil, storeFault(f.Store, err)
	}
	var plan []RemovedModel
	for _, p := range partials {
		plan = append(plan, RemovedModel{Ref: p.Path, Bytes: p.Size})
	}
	for _, m := range models {
		plan = append(plan, RemovedModel{Ref: m.Ref, Bytes: m.Size})
	}
	if len(plan) == 0 || opt.DryRun {
		return plan, nil
	}
	if !opt.Yes {
		for _, r := range plan {
			fmt.Fprintf(a.Err, "%10s  %s\n", units.HumanSize(float64(r.Bytes)), r.Ref)
		}
		if !atTerminal() {
			return plan, fault.New(fault.Usage, "nothing was removed", errors.New("there is no terminal to ask at"), "say --yes to remove all of the above")
		}
		fmt.Fprint(a.Err, "Remove all of it? [y/N] ")
		if ok, err := answer(ctx); err != nil || !ok {
			return plan, interrupted(ctx, err)
		}
	}
	return removeModels(f.Store, models, partials)
}
