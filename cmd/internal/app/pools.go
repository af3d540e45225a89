package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
)

// The states of a pool's replica, as ps shows them.
const (
	StateReady   = "ready"
	StateLoading = "loading"
	StateSilent  = "not answering"
)

// Pool is a replica of a pool as it is now.
type Pool struct {
	Pool    string `json:"pool"`
	Replica string `json:"replica"`
	// State is StateReady, StateLoading, StateSilent, or Docker's word for a
	// container that does not run, with its exit code.
	State   string    `json:"state"`
	URL     string    `json:"url"`
	Image   string    `json:"image"`
	Model   string    `json:"model"`
	Since   time.Time `json:"since"`
	Project string    `json:"project"`
	// Handoff is the path of the handoff, empty while there is none.
	Handoff   string `json:"handoff,omitempty"`
	Container string `json:"container"`
}

// PsOptions say which pools are listed.
type PsOptions struct {
	HandoffDir  string
	AllProjects bool
}

// Ps lists pools as the engine tells of them, and sets their handoffs right:
// one that is missing is written, one that is no longer true is removed.
func (a *App) Ps(ctx context.Context, opt PsOptions) ([]Pool, error) {
	dir, err := filepath.Abs(opt.HandoffDir)
	if err != nil {
		return nil, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	defer eng.Close()
	project := dir
	if opt.AllProjects {
		project = ""
	}
	found, err := engine.New(eng.client, eng.at, nil).List(ctx, project)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	pools := make([]Pool, 0, len(found))
	for _, i := range found {
		p := Pool{
			Pool: i.Pool, Replica: i.Replica, State: stateOf(ctx, i), URL: i.URL, Image: i.ImageRef,
			Model: i.Labels[labelModelRef], Since: i.State.StartedAt, Project: i.Project, Container: i.Name,
		}
		if i.Project == dir {
			if err := a.reconcile(ctx, i, p.State); err != nil {
				return nil, interrupted(ctx, err)
			}
		}
		if _, err := os.Stat(i.Handoff); err == nil {
			p.Handoff = i.Handoff
		}
		pools = append(pools, p)
	}
	return pools, interrupted(ctx, sweep(dir, found))
}

// stateOf asks a replica how it is.
func stateOf(ctx context.Context, i *engine.Instance) string {
	if !i.State.Running {
		if i.State.Status == "exited" {
			return fmt.Sprintf("exited (%d)", i.State.ExitCode)
		}
		return i.State.Status
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.URL+"/health", nil)
	if err != nil {
		return StateSilent
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		// A server that has not bound its port yet refuses; it is starting.
		if time.Since(i.State.StartedAt) < time.Minute {
			return StateLoading
		}
		return StateSilent
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return StateReady
	case http.StatusServiceUnavailable:
		return StateLoading
	}
	return StateSilent
}

// reconcile makes a replica's handoff say the truth.
func (a *App) reconcile(ctx context.Context, i *engine.Instance, state string) error {
	if state != StateReady {
		return handoff.Remove(i.Project, i.Pool, i.Replica)
	}
	h, err := handoff.Read(i.Handoff)
	if err == nil && h.Container.ID == i.ID && h.URL == i.URL {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err = writeHandoff(ctx, i)
	return err
}

// sweep removes the project's handoffs that no container stands behind.
func sweep(dir string, found []*engine.Instance) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		h, err := handoff.Read(filepath.Join(dir, f.Name()))
		if err != nil || h.Container.ID == "" || f.Name() != handoff.FileName(h.PoolID, h.ReplicaID) {
			continue // Not one of ours.
		}
		if !slices.ContainsFunc(found, func(i *engine.Instance) bool { return i.ID == h.Container.ID }) {
			if err := handoff.Remove(dir, h.PoolID, h.ReplicaID); err != nil {
				return err
			}
		}
	}
	return nil
}

// StopOptions say what is stopped.
type StopOptions struct {
	// Pools are ids; none means the default pool.
	Pools      []string
	All        bool
	HandoffDir string
	// Grace is how long a server may take to end by itself.
	Grace time.Duration
}

// Stop ends pools and returns what it ended. Handoffs go first, also those of
// an engine that does not answer: nobody is to bind what may be gone.
func (a *App) Stop(ctx context.Context, opt StopOptions) ([]string, error) {
	dir, err := filepath.Abs(opt.HandoffDir)
	if err != nil {
		return nil, err
	}
	pools := opt.Pools
	if opt.All && len(pools) > 0 {
		return nil, fault.New(fault.Usage, "--all and the names of pools exclude each other", nil, "see llorch-bk stop --help")
	}
	if len(pools) == 0 {
		pools = []string{handoff.DefaultPool}
	}
	for _, p := range pools {
		if err := handoff.ValidID(p); err != nil {
			return nil, fault.New(fault.Usage, "no pool can be called "+p, err, "llorch-bk ps lists the pools")
		}
	}
	meant := func(pool string) bool { return opt.All || slices.Contains(pools, pool) }
	if err := removeHandoffs(dir, meant); err != nil {
		return nil, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	defer eng.Close()
	found, err := engine.New(eng.client, eng.at, nil).List(ctx, dir)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	var stopped []string
	for _, i := range found {
		if !meant(i.Pool) {
			continue
		}
		if err := i.Stop(ctx, opt.Grace); err != nil {
			return stopped, interrupted(ctx, err)
		}
		// A run that was waiting may have written it since.
		if err := handoff.Remove(dir, i.Pool, i.Replica); err != nil {
			return stopped, err
		}
		name := i.Pool
		if i.Replica != handoff.DefaultReplica {
			name += "/" + i.Replica
		}
		stopped = append(stopped, name)
	}
	return stopped, nil
}

func removeHandoffs(dir string, meant func(string) bool) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		h, err := handoff.Read(filepath.Join(dir, f.Name()))
		if err == nil && meant(h.PoolID) && f.Name() == handoff.FileName(h.PoolID, h.ReplicaID) {
			if err := handoff.Remove(dir, h.PoolID, h.ReplicaID); err != nil {
				return err
			}
		}
	}
	return nil
}

// LogsOptions say which log is printed.
type LogsOptions struct {
	Pool, Replica, HandoffDir string
	Follow                    bool
}

// Logs prints a replica's log.
func (a *App) Logs(ctx context.Context, opt LogsOptions) error {
	dir, err := filepath.Abs(opt.HandoffDir)
	if err != nil {
		return err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer eng.Close()
	i, err := engine.New(eng.client, eng.at, nil).Find(ctx, dir, opt.Pool, opt.Replica)
	if err != nil {
		return interrupted(ctx, err)
	}
	if i == nil {
		return fault.New(fault.Usage, fmt.Sprintf("this project has no pool %q", opt.Pool), nil, "llorch-bk ps lists the pools")
	}
	return interrupted(ctx, i.Logs(ctx, a.Out, engine.LogOptions{Follow: opt.Follow}))
}
