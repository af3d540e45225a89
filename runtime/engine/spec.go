package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/replica"
)

// Spec describes the desired server. It does not say how an engine grants it: mounts,
// devices and the like are the engine's matter.
type Spec struct {
	// Project is the absolute handoff folder, which identifies the pool's project.
	Project string
	// Pool and Replica identify the server in the project.
	Pool, Replica string
	// Handoff is the path of the handoff file; the server records it in a label.
	Handoff string
	// Image is the image's id; ImageRef is its name as the user gave it.
	Image, ImageRef string
	// Entrypoint replaces the image's entrypoint, if set. The server's arguments follow it.
	Entrypoint []string
	// Flags are the server's flags from ServerFlags: without model, host and port.
	Flags []string
	// Model is the model to serve.
	Model Model
	// Files are read by the server besides its model, and Volumes are the folders that it
	// writes to. Flags contain the paths inside the container.
	Files   []File
	Volumes []Volume
	// Listen is the host's address to publish the port on; empty means 127.0.0.1.
	Listen string
	// Port is the host's port; 0 means PreferPort if that is free, else any free port.
	Port, PreferPort int
	// User is the numeric "uid:gid" of the server; empty means DefaultUser.
	User string
	// GPUs is "all", or a comma-separated list of ids or uuids; empty or "none" for a run
	// without a GPU.
	GPUs string
	// Device is the prefix of ggml's names for the GPUs ("CUDA", "Vulkan"); empty if GPUs is.
	Device string
	// Memory is the limit in bytes; 0 for none. CPUs is the limit of CPU time in cores; 0 for
	// none.
	Memory int64
	CPUs   float64
	// Restart is docker's restart policy; empty means "no".
	Restart string
	// GPUCache keeps code that the GPU's driver compiles between runs.
	GPUCache bool
	// Env are the server's variables ("NAME=value"). Everyone who can inspect the container
	// can read them: no secrets.
	Env []string
	// Labels are the caller's additional labels.
	Labels map[string]string
}

// The defaults of a Spec.
const (
	// DefaultListen makes a server reachable from this machine only.
	DefaultListen = "127.0.0.1"
	// DefaultUser is an unprivileged user that many distroless images use.
	DefaultUser = "65532:65532"
)

// specVersion is part of the run digest. Raise it if the same Spec begins to produce another
// container.
const specVersion = 1

var (
	numericUser   = regexp.MustCompile(`^\d+(:\d+)?$`)
	restartPolicy = regexp.MustCompile(`^(|no|always|unless-stopped|on-failure(:\d+)?)$`)
)

// WithDefaults fills in the defaults.
func (s Spec) WithDefaults() Spec {
	if s.Listen == "" {
		s.Listen = DefaultListen
	}
	if s.User == "" {
		s.User = DefaultUser
	}
	if s.GPUs == "none" {
		s.GPUs = ""
	}
	if s.Restart == "" {
		s.Restart = "no"
	}
	return s
}

// Validate reports everything that is wrong with s, without asking an engine or reading the
// disk.
func (s Spec) Validate() error {
	s = s.WithDefaults()
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if err := replica.ValidPool(s.Pool); err != nil {
		errs = append(errs, err)
	}
	if err := replica.ValidReplica(s.Replica); err != nil {
		errs = append(errs, err)
	}
	if !filepath.IsAbs(s.Project) {
		bad("the handoff folder must be absolute, got %q", s.Project)
	}
	if s.Image == "" {
		bad("no image is given")
	}
	if err := s.Model.validate(); err != nil {
		errs = append(errs, err)
	}
	for _, f := range s.Files {
		if err := f.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	for _, v := range s.Volumes {
		if err := v.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := netip.ParseAddr(s.Listen); err != nil {
		bad("`listen` must be an IP address, got %q", s.Listen)
	}
	if s.Port < 0 || s.Port > 65535 {
		bad("`port` must be 1–65535, got %d", s.Port)
	}
	if uid, _, _ := strings.Cut(s.User, ":"); !numericUser.MatchString(s.User) || strings.Trim(uid, "0") == "" {
		bad("the server's user must be numeric and not root, got %q", s.User)
	}
	if !restartPolicy.MatchString(s.Restart) {
		bad("`restart` must be no, always, unless-stopped or on-failure[:N], got %q", s.Restart)
	}
	if s.GPUs != "" && slices.Contains(strings.Split(s.GPUs, ","), "") {
		bad("`gpus` must be all, none or a list of GPUs, got %q", s.GPUs)
	}
	// Docker refuses less than this with an unclear message.
	if s.Memory < 0 || s.Memory > 0 && s.Memory < 6<<20 {
		bad("`memory` must be at least 6 MiB, got %d bytes", s.Memory)
	}
	if !(s.CPUs >= 0 && s.CPUs < 1e6) { // this form also refuses NaN
		bad("`cpus` must be a number of cores, got %v", s.CPUs)
	}
	if len(errs) == 0 {
		return nil
	}
	return fault.New(fault.Usage, "invalid server settings", errors.Join(errs...), "correct these settings")
}

// Of is the server's replica.
func (s Spec) Of() replica.ID {
	return replica.ID{Project: s.Project, Pool: s.Pool, Replica: s.Replica}
}

// RunDigest identifies the server's behaviour: two Specs with the same digest need not be
// run twice. It leaves out names and labels, which do not affect the server, a port that
// the user did not choose, and the folder of a model whose content is known.
func (s Spec) RunDigest() string {
	s = s.WithDefaults()
	env := slices.Clone(s.Env)
	slices.Sort(env)
	// A struct's fields have a fixed order, so equal Specs give equal JSON.
	body, err := json.Marshal(struct {
		Version                int
		Project, Pool, Replica string
		Image                  string
		Entrypoint, Flags      []string
		Model                  Model
		Listen                 string
		Port                   int
		User, GPUs             string
		Memory                 int64
		CPUs                   float64
		Restart                string
		GPUCache               bool
		Env                    []string
		Files                  []File   `json:",omitempty"`
		Volumes                []Volume `json:",omitempty"`
	}{
		specVersion, s.Project, s.Pool, s.Replica, s.Image, orEmpty(s.Entrypoint), orEmpty(s.Flags),
		s.Model.identity(), s.Listen, s.Port, s.User, s.GPUs, s.Memory, s.CPUs, s.Restart, s.GPUCache, orEmpty(env),
		identities(s.Files), s.Volumes,
	})
	if err != nil {
		// JSON fails only for a CPUs value that Validate refuses.
		body = fmt.Appendf(nil, "%#v", s)
	}
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
