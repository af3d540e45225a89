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

// Spec is everything that is wanted of a server. It says nothing of how an engine
// grants it: mounts, devices and the like are the engine's own matter.
type Spec struct {
	// Project is the absolute folder of the handoff, to which the pool belongs.
	Project string
	// Pool and Replica are the server's place in it.
	Pool, Replica string
	// Handoff is the path that the handoff will have, for who finds the container.
	Handoff string
	// Image is the image's id; ImageRef is the name that it was asked for by.
	Image, ImageRef string
	// Entrypoint replaces the image's; empty leaves it. The server's arguments follow it.
	Entrypoint []string
	// Flags are the server's, from ServerFlags: without model, host and port.
	Flags []string
	// Model is what is served.
	Model Model
	// Files are what the server reads beside its model, and Volumes where it writes to.
	// Flags have their paths as the server gets them.
	Files   []File
	Volumes []Volume
	// Listen is the host's address that the port is published on; empty is 127.0.0.1.
	Listen string
	// Port is the host's port; 0 takes PreferPort if that is free, else any that is.
	Port, PreferPort int
	// User is the numeric "uid:gid" that the server runs as; empty is DefaultUser.
	User string
	// GPUs is "all", or ids or uuids of GPUs with commas between them; empty or
	// "none" is a run without a GPU.
	GPUs string
	// Device begins the names that ggml gives the GPUs ("CUDA", "Vulkan"); empty where
	// GPUs is.
	Device string
	// Memory is the limit in bytes, 0 for none. CPUs is the share of CPU time in
	// cores, 0 for all.
	Memory int64
	CPUs   float64
	// Restart is docker's restart policy; empty is "no".
	Restart string
	// GPUCache keeps what the GPU's driver compiles from run to run.
	GPUCache bool
	// Env are the server's variables ("NAME=value"). They can be seen by who may
	// inspect the server: no secrets.
	Env []string
	// Labels are the caller's, beside ours.
	Labels map[string]string
}

// What a Spec means where it says nothing.
const (
	// DefaultListen keeps a server to this machine.
	DefaultListen = "127.0.0.1"
	// DefaultUser is an ordinary user without a name; many distroless images use it.
	DefaultUser = "65532:65532"
)

// specVersion enters the run digest and is raised when the same Spec comes to
// make another container.
const specVersion = 1

var (
	numericUser   = regexp.MustCompile(`^\d+(:\d+)?$`)
	restartPolicy = regexp.MustCompile(`^(|no|always|unless-stopped|on-failure(:\d+)?)$`)
)

// WithDefaults fills in what s says nothing about.
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

// Validate says everything that is wrong with s as a request, without asking
// an engine or looking at the disk.
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
		bad("the handoff folder %q is not absolute", s.Project)
	}
	if s.Image == "" {
		bad("there is no image")
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
		bad("the server's user %q must be numeric and not root", s.User)
	}
	if !restartPolicy.MatchString(s.Restart) {
		bad("`restart` must be no, always, unless-stopped or on-failure[:N], got %q", s.Restart)
	}
	if s.GPUs != "" && slices.Contains(strings.Split(s.GPUs, ","), "") {
		bad("`gpus` must be all, none or a list of GPUs, got %q with an empty name in it", s.GPUs)
	}
	// Less than this Docker refuses, in words that help nobody.
	if s.Memory < 0 || s.Memory > 0 && s.Memory < 6<<20 {
		bad("`memory` must be at least 6 MiB, got %d bytes", s.Memory)
	}
	if !(s.CPUs >= 0 && s.CPUs < 1e6) { // written so that NaN is out too
		bad("`cpus` must be a number of cores, got %v", s.CPUs)
	}
	if len(errs) == 0 {
		return nil
	}
	return fault.New(fault.Usage, "the server cannot be started like this", errors.Join(errs...), "correct the settings that are named")
}

// Of is the replica that the server is of.
func (s Spec) Of() replica.ID {
	return replica.ID{Project: s.Project, Pool: s.Pool, Replica: s.Replica}
}

// RunDigest identifies what makes the container behave as it does: two specs
// with the same one need not be run twice. Left out are names and labels, which
// can be wrong without the server being so, and a port that nobody asked for.
func (s Spec) RunDigest() string {
	s = s.WithDefaults()
	env := slices.Clone(s.Env)
	slices.Sort(env)
	// A struct's fields have a fixed order, so the same spec is the same JSON.
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
		s.Model, s.Listen, s.Port, s.User, s.GPUs, s.Memory, s.CPUs, s.Restart, s.GPUCache, orEmpty(env),
		identities(s.Files), s.Volumes,
	})
	if err != nil {
		// Only a CPUs that Validate refuses cannot be written as JSON.
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
