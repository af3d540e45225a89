package app

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/model"
)

// introduce adds to the flags for the server those by which it is given the model's
// companions. Which these are, the image's own server is asked.
func (a *App) introduce(ctx context.Context, eng engine.Prober, r checkedRun, img imageOf, m model.Local) (checkedRun, error) {
	var with []engine.Companion
	for _, c := range r.companions {
		if c.At != "" { // else the user's own flags name it
			with = append(with, c)
		}
	}
	if len(with) == 0 {
		return r, nil
	}
	options, err := a.optionsOf(ctx, eng, r.spec(img, m, nil))
	if err != nil {
		return r, err
	}
	words, err := engine.CompanionFlags(options, with, r.Server)
	if err != nil {
		return r, err
	}
	r.Server = slices.Concat(words, r.Server)
	return r, nil
}

// optionsOf are the flags that an image's server has. An image never changes, so its
// answer is kept in the cache folder.
func (a *App) optionsOf(ctx context.Context, eng engine.Prober, s engine.Spec) (engine.Options, error) {
	kept := a.helpFile(s.Image)
	if text, err := os.ReadFile(kept); err == nil {
		if options := engine.ParseHelp(strings.Split(string(text), "\n")); len(options) > 0 {
			return options, nil
		}
	}
	lines, err := eng.Help(ctx, s)
	if err != nil {
		return nil, err
	}
	options := engine.ParseHelp(lines)
	if len(options) == 0 {
		return nil, fault.New(fault.Engine, "the server in the image "+s.ImageRef+" does not say which flags it has", nil,
			"take an image that `llorch-bk build` made, or run the model without its companions").WithLines(lines)
	}
	if kept != "" && os.MkdirAll(filepath.Dir(kept), 0o755) == nil {
		// Without the file, the next run asks again.
		_ = renameio.WriteFile(kept, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
	}
	return options, nil
}

// helpFile is where the help of an image's server is kept; empty for an image that is not
// known by its content.
func (a *App) helpFile(image string) string {
	name, ok := strings.CutPrefix(image, "sha256:")
	dir, err := a.CacheDir()
	if !ok || err != nil {
		return ""
	}
	return filepath.Join(dir, "help", filepath.Base(name))
}
