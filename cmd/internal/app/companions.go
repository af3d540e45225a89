package app

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"

	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// companion is one that is on this host.
type companion struct {
	engine.Companion
	local model.Local
	// files are all of its files; the server sees them once it is introduced.
	files []engine.File
}

// gathering fetches the companions of a model.
type gathering struct {
	f     *model.Fetcher
	model model.Local
	// server are the user's flags for the server.
	server []string
	found  []companion
}

// gather fetches the companions of a model that is here: those that the user named, and
// those that belong to it.
func gather(ctx context.Context, f *model.Fetcher, c company, server []string, m model.Local) ([]companion, error) {
	g := gathering{f: f, model: m, server: server}
	if err := g.projector(ctx, c); err != nil {
		return nil, err
	}
	if err := g.draft(ctx, c); err != nil {
		return nil, err
	}
	for _, a := range c.adapters {
		l, err := f.Fetch(ctx, a.ref)
		if err != nil {
			return nil, err
		}
		if _, err := l.ExamineAs("a LoRA adapter", gguf.Adapter); err != nil {
			return nil, err
		}
		if err := g.add(ctx, engine.Companion{Kind: engine.KindLoRA, Scale: &a.scale}, l); err != nil {
			return nil, err
		}
	}
	return g.found, nil
}

func (g *gathering) projector(ctx context.Context, c company) error {
	what := engine.Companion{Kind: engine.KindProjector}
	if c.projector != nil {
		r, err := g.f.Projector(ctx, *c.projector)
		if err != nil {
			return err
		}
		l, err := g.f.Fetch(ctx, r)
		if err != nil {
			return err
		}
		if _, err := l.ExamineAs("a projector", gguf.Projector); err != nil {
			return err
		}
		return g.add(ctx, what, l)
	}
	if c.alone {
		return nil
	}
	l, ok, err := g.f.Companion(ctx, g.model, gguf.SidecarProjector)
	if err != nil || !ok {
		return err
	}
	if facts, err := l.ExamineAs("a projector"); err != nil || facts.Role() != gguf.Projector {
		return err // or only its name is like a projector's
	}
	return g.add(ctx, what, l)
}

func (g *gathering) draft(ctx context.Context, c company) error {
	if c.draft == nil {
		return g.head(ctx)
	}
	r, kind, made, err := g.f.Sidecar(ctx, *c.draft)
	if err != nil {
		return err
	}
	l, err := g.f.Fetch(ctx, r)
	if err != nil {
		return err
	}
	facts, err := l.ExamineAs("a draft", gguf.Draft, gguf.Model)
	if err != nil {
		return err
	}
	what := engine.Companion{Kind: engine.KindDraft, Speculation: facts.Speculation()}
	if made {
		what.Speculation = kind.Speculation()
		g.f.Beside(g.model, l, kind)
	}
	return g.add(ctx, what, l)
}

// head is the head of the model's repository that guesses ahead, where the user's flags
// for the server ask for one and name none: as llama.cpp's own -hf does.
func (g *gathering) head(ctx context.Context) error {
	if engine.Given(g.server)[engine.KindDraft] {
		return nil
	}
	ways := engine.SpeculationOf(g.server)
	for _, kind := range gguf.DraftSidecars {
		if !slices.Contains(ways, kind.Speculation()) {
			continue
		}
		l, ok, err := g.f.Companion(ctx, g.model, kind)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if _, err := l.ExamineAs("a draft", gguf.Draft, gguf.Model); err != nil {
			return err
		}
		return g.add(ctx, engine.Companion{Kind: engine.KindDraft}, l)
	}
	return nil
}

// add adds a companion, known by its content.
func (g *gathering) add(ctx context.Context, c engine.Companion, l model.Local) error {
	id, err := g.f.IdentityOf(ctx, l)
	if err != nil {
		return err
	}
	c.Ref, c.Path, c.Size = l.Ref.Raw, l.Path, l.Size
	out := companion{Companion: c, local: l}
	for _, file := range id.Files {
		out.SHA256 = cmp.Or(out.SHA256, file.SHA256)
		out.files = append(out.files, engine.File{
			Host: filepath.Join(filepath.Dir(l.Path), filepath.Base(file.Path)), Digest: "sha256:" + file.SHA256,
		})
	}
	g.found = append(g.found, out)
	return nil
}

// kindsOfFlags are the companions that the user's own flags for the server name.
var kindsOfFlags = map[string]engine.Kind{
	"mmproj": engine.KindProjector, "model-draft": engine.KindDraft, "lora": engine.KindLoRA, "lora-scaled": engine.KindLoRA,
}

// named are the companions that the user's own flags for the server name. Their content
// is known from now on.
func (r *checkedRun) named(ctx context.Context, f *model.Fetcher) error {
	g := gathering{f: f}
	for _, given := range r.attached.given {
		kind, ok := kindsOfFlags[given.Name]
		if !ok {
			continue
		}
		l, err := f.Fetch(ctx, model.Ref{Kind: ref.File, Raw: given.Value, Path: given.Value})
		if err != nil {
			return err
		}
		if _, err := l.ExamineAs("what " + given.Flag + " names"); err != nil {
			return err
		}
		if err := g.add(ctx, engine.Companion{Kind: kind}, l); err != nil {
			return err
		}
	}
	for _, c := range g.found {
		r.companions = append(r.companions, c.Companion)
		for _, file := range c.files {
			if i := slices.IndexFunc(r.attached.files, func(f engine.File) bool { return f.Host == file.Host }); i >= 0 {
				r.attached.files[i].Digest = file.Digest
			}
		}
	}
	return nil
}

// accompany fetches what belongs to a model that is here, and makes it part of what the
// server sees.
func (r checkedRun) accompany(ctx context.Context, f *model.Fetcher, m model.Local) (checkedRun, error) {
	found, err := gather(ctx, f, r.company, r.Server, m)
	if err != nil {
		return r, err
	}
	r.attached.files = slices.Clone(r.attached.files)
	r.companions = nil
	for _, c := range found {
		root := r.attached.root()
		for i, file := range c.files {
			file.Path = root + "/" + plainName(filepath.Base(file.Host))
			if i == 0 {
				c.At = file.Path
			}
			r.attached.files = append(r.attached.files, file)
		}
		r.companions = append(r.companions, c.Companion)
	}
	err = r.named(ctx, f)
	return r, err
}
