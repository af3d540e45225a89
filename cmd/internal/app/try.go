package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/distribution/reference"
	"github.com/google/renameio/v2"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// A model may take this long to load alone: minutes for any, and the time that a slow
// disk takes to read it.
const (
	tryPatience = 2 * time.Minute
	tryRate     = 50 << 20 // bytes in a second
)

func tryLimit(size int64) time.Duration {
	return tryPatience + time.Duration(size/tryRate)*time.Second
}

// try loads a model alone in a container, and remembers one that was loaded.
func (o *operations) try(ctx context.Context, spec engine.Spec) error {
	return o.d.Do("try the model alone in a container", func(s *Step) error {
		began := time.Now()
		err := o.eng.Try(ctx, spec, o.tryLimit)
		took := time.Since(began).Round(10 * time.Millisecond)
		if errors.Is(err, engine.ErrUntried) && ctx.Err() == nil {
			s.Note("not tried: " + oneLine(err))
			return nil
		}
		if err != nil {
			return err
		}
		if err := o.tried(); err != nil {
			s.Note(fmt.Sprintf("it was loaded in %v; it is tried again the next time: %v", took, err))
			return nil
		}
		s.Note(fmt.Sprintf("it was loaded in %v; the same files are not tried again", took))
		return nil
	})
}

// trial is the record of one model's trial, whether there was one or not.
type trial struct {
	// file is named after the content of all of the model's files.
	file string
	// Model, Image and At say what was tried, with what, and when. They are for people.
	Model string    `json:"model"`
	Image string    `json:"image"`
	At    time.Time `json:"at"`
}

// trial says why a model has to be tried alone before it is served; empty for a file of
// the user's own, one that was tried before, and where the user trusts it.
func (a *App) trial(r checkedRun, m model.Local) (trial, string, error) {
	if r.ref.Kind == ref.File || r.Trust {
		return trial{}, "", nil
	}
	why := "new from " + a.origin(r.ref)
	if m.Dir == "" {
		return trial{}, why, nil // it is still to be fetched
	}
	content := m.Content()
	if content == "" {
		return trial{}, why, nil // not every file's hash is known
	}
	dir, err := a.CacheDir()
	if err != nil {
		return trial{}, "", err
	}
	t := trial{file: filepath.Join(dir, "tried", content+".json"), Model: r.ref.Raw}
	if _, err := os.Stat(t.file); err == nil {
		return t, "", nil
	}
	return t, why, nil
}

// add records that the model was loaded by an image's server.
func (t trial) add(img imageOf) error {
	if t.file == "" {
		return nil
	}
	t.Image, t.At = img.ID, time.Now().UTC().Truncate(time.Second)
	body, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(t.file), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(t.file, append(body, '\n'), 0o644)
}

// origin is the host that a model comes from.
func (a *App) origin(r model.Ref) string {
	switch r.Kind {
	case ref.Hub:
		if env, err := model.FromEnv(a.Getenv); err == nil {
			return hostName(env.Endpoint)
		}
	case ref.HTTP:
		return hostName(r.URL)
	case ref.Registry:
		if named, err := reference.ParseNormalizedNamed(r.Repo); err == nil {
			return reference.Domain(named)
		}
	case ref.File:
	}
	return "outside"
}

func hostName(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "outside"
	}
	return u.Host
}
