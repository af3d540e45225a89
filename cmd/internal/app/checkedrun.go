package app

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/handoff"
	"github.com/llorch/llorch-bk/runtime/model"
	"github.com/llorch/llorch-bk/runtime/pool"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// checkedRun is RunOptions after validation; nothing has been started yet.
type checkedRun struct {
	RunOptions
	ref    model.Ref
	memory int64
	// roots are the CA certificates for model downloads; nil for the system's.
	roots *x509.CertPool
	// locked is the model of the build's lock, if there is one.
	locked images.LockModel
	// company is what the user asked of the model's companions, and companions are those
	// that are here.
	company    company
	companions []engine.Companion
	// attached is what the flags for the server name on this host; Server has the paths
	// that the server gets for it.
	attached attached
}

// check reports everything that is wrong with a run before anything is started.
func check(opt RunOptions) (checkedRun, error) {
	r := checkedRun{RunOptions: opt}
	var err error
	if err := errors.Join(replica.ValidPool(opt.Pool), replica.ValidReplica(opt.Replica)); err != nil {
		return r, err
	}
	if r.ref, err = model.Parse(opt.Model); err != nil {
		return r, err
	}
	if _, err := engine.ServerFlags(opt.Server, engine.ServerOptions{Ctx: opt.Ctx}); err != nil {
		return r, err
	}
	if r.company, err = checkCompany(opt.Company, opt.Server); err != nil {
		return r, err
	}
	if r.attached, r.Server, err = attach(opt.Server); err != nil {
		return r, err
	}
	if opt.Memory != "" {
		if r.memory, err = units.RAMInBytes(opt.Memory); err != nil {
			return r, fault.New(fault.Usage, "`memory` must be a size, got "+strconv.Quote(opt.Memory), err, "write it as 8g or 512m")
		}
	}
	if err := checkPatience(opt); err != nil {
		return r, err
	}
	if r.HandoffDir, err = handoff.Resolve(opt.HandoffDir); err != nil {
		return r, err
	}
	if err := handoff.CheckWritable(r.HandoffDir); err != nil {
		return r, err
	}
	// Spec.Validate knows the rest: address, port, limits, policies.
	probe := r.spec(imageOf{ID: "checked later"}, model.Local{Path: "/checked/later.gguf"}, nil)
	return r, probe.Validate()
}

// checkPatience checks the numbers of a run that Spec.Validate does not know.
func checkPatience(opt RunOptions) error {
	switch {
	case opt.Ctx < 0:
		return fault.New(fault.Usage, fmt.Sprintf("`ctx` must not be negative, got %d", opt.Ctx), nil, "remove it for the model's own context size")
	case opt.Timeout <= 0:
		return fault.New(fault.Usage, fmt.Sprintf("`timeout` must be above zero, got %v", opt.Timeout), nil, "write it as 30m")
	case opt.StallTimeout <= 0:
		return fault.New(fault.Usage, fmt.Sprintf("`stall-timeout` must be above zero, got %v", opt.StallTimeout), nil, "write it as 2m")
	}
	return nil
}

// wanted returns the desired state of a pool.
func (r checkedRun) wanted(img imageOf, m model.Local) (pool.Wanted, error) {
	spec, err := r.specOf(img, m)
	if err != nil {
		return pool.Wanted{}, err
	}
	w := pool.Wanted{Spec: spec}
	if r.AllowCPU && spec.GPUs != "" {
		r.GPUs = "none"
		cpu, err := r.specOf(img, m)
		if err != nil {
			return pool.Wanted{}, err
		}
		w.CPU = &cpu
	}
	return w, nil
}

// specOf returns the container for a run, with its server flags.
func (r checkedRun) specOf(img imageOf, m model.Local) (engine.Spec, error) {
	flags, err := engine.ServerFlags(r.Server, engine.ServerOptions{CPU: r.gpus(img) == "", Ctx: r.Ctx})
	return r.spec(img, m, flags), err
}

// spec returns the container for a run.
func (r checkedRun) spec(img imageOf, m model.Local, flags []string) engine.Spec {
	gpus, device := r.gpus(img), ""
	if gpus != "" {
		device = deviceOf(img)
	}
	labels, content := runLabels(r, gpus, device, flags), m.Content()
	if content != "" {
		labels[engine.LabelContent] = content
	}
	return engine.Spec{
		Project: r.HandoffDir, Pool: r.Pool, Replica: r.Replica,
		Handoff: filepath.Join(r.HandoffDir, handoff.FileName(r.Pool, r.Replica)),
		Image:   img.ID, ImageRef: img.Ref,
		Flags: flags,
		Model: engine.Model{HostFile: m.Path, HostDir: m.Dir, SHA256: m.SHA256, Content: content, Shards: m.Shards},
		Files: r.attached.files, Volumes: r.attached.volumes,
		Listen: r.Listen, Port: r.Port,
		User: serverUser(m),
		GPUs: gpus, Device: device, GPUCache: gpus != "",
		Memory: r.memory, CPUs: r.CPUs, Restart: r.Restart,
		Labels: labels,
	}
}

// gpus returns the GPUs for the server. The default is all GPUs for an image that was built
// for GPUs, and none for other images.
func (r checkedRun) gpus(img imageOf) string {
	switch {
	case r.GPUs == "none":
		return ""
	case r.GPUs == "" && (img.Labels[images.LabelDevice] != "" || img.Labels[images.LabelCUDA] != ""):
		return "all"
	}
	return r.GPUs
}

// serverUser is the user that the server runs as: the model's owner, who can read it
// whatever its mode, or a fixed user if the owner is root.
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

// owner returns the owner of a file.
func owner(path string) (uid, gid uint32, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, false
	}
	return statOwner(info)
}
