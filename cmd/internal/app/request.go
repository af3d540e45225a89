package app

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/model"
)

// request is RunOptions checked, before anything was started.
type request struct {
	RunOptions
	ref    model.Ref
	memory int64
	// roots are the authorities that the model's servers are trusted by, nil for the
	// system's.
	roots *x509.CertPool
}

// check says everything that can be wrong with a run before anything is started.
func check(opt RunOptions) (request, error) {
	r := request{RunOptions: opt}
	var err error
	if err := errors.Join(handoff.ValidID(opt.Pool), handoff.ValidReplicaID(opt.Replica)); err != nil {
		return r, fault.New(fault.Usage, "the pool cannot be called that", err, "check --pool and --replica")
	}
	if r.ref, err = model.Parse(opt.Model); err != nil {
		return r, err
	}
	if _, err := engine.ServerFlags(opt.Server, engine.ServerOptions{Ctx: opt.Ctx}); err != nil {
		return r, err
	}
	if opt.Memory != "" {
		if r.memory, err = units.RAMInBytes(opt.Memory); err != nil {
			return r, fault.New(fault.Usage, "--memory "+opt.Memory+" is no size", err, "write it as 8g or 512m")
		}
	}
	if r.Ctx < 0 || r.Timeout <= 0 || r.StallTimeout <= 0 {
		return r, fault.New(fault.Usage, "--ctx must not be negative, and --timeout and --stall-timeout must be above zero", nil, "see llorch-bk run --help")
	}
	if r.HandoffDir, err = filepath.Abs(opt.HandoffDir); err != nil {
		return r, err
	}
	if err := handoff.CheckWritable(r.HandoffDir); err != nil {
		return r, err
	}
	// What a spec itself knows to be wrong: address, port, limits, policies.
	probe := r.spec(imageOf{ID: "checked later"}, model.Local{Path: "/checked/later.gguf"}, nil)
	return r, probe.Validate()
}

// specOf is the container for a run, with the flags that its server gets.
func (r request) specOf(img imageOf, m model.Local) (engine.Spec, error) {
	flags, err := engine.ServerFlags(r.Server, engine.ServerOptions{CPU: r.gpus(img) == "", Ctx: r.Ctx})
	return r.spec(img, m, flags), err
}

// spec is the container for a run.
func (r request) spec(img imageOf, m model.Local, flags []string) engine.Spec {
	gpus, device := r.gpus(img), ""
	if gpus != "" {
		device = deviceOf(img)
	}
	return engine.Spec{
		Project: r.HandoffDir, Pool: r.Pool, Replica: r.Replica,
		Handoff: filepath.Join(r.HandoffDir, handoff.FileName(r.Pool, r.Replica)),
		Image:   img.ID, ImageRef: img.Ref,
		Flags:  flags,
		Model:  engine.Mount{HostFile: m.Path, HostDir: m.Dir, SHA256: m.SHA256},
		Listen: r.Listen, Port: r.Port,
		User: serverUser(m),
		GPUs: gpus, Device: device, GPUCache: gpus != "",
		Memory: r.memory, CPUs: r.CPUs, Restart: r.Restart,
		Labels: runLabels(r, gpus, device, flags),
	}
}

// gpus is what the server may use: by default all of them for an image that was
// built for GPUs, and none for another.
func (r request) gpus(img imageOf) string {
	switch {
	case r.GPUs == "none":
		return ""
	case r.GPUs == "" && (img.Labels[images.LabelDevice] != "" || img.Labels[images.LabelCUDA] != ""):
		return "all"
	}
	return r.GPUs
}

// serverUser is whom the server runs as: the owner of the model where that is
// an ordinary user, who can then read it whatever its mode, else a fixed one.
func serverUser(m model.Local) string {
	path := m.Path
	if m.Dir != "" {
		path = m.Dir
	}
	uid, gid, ok := owner(path)
	if !ok || uid == 0 {
		return engine.DefaultUser
	}
	return fmt.Sprintf("%d:%d", uid, gid)
}

// owner is who a file belongs to.
func owner(path string) (uid, gid uint32, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, false
	}
	return statOwner(info)
}
