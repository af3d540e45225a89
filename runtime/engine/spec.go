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
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/handoff"
)

// Spec is everything that makes a server's container.
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
	Model Mount
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
	// Access is how the engine gives them to the container. It is the engine's matter
	// and not in the run digest.
	Access GPUs
	// Memory is the limit in bytes, 0 for none. CPUs is the share of CPU time in
	// cores, 0 for all.
	Memory int64
	CPUs   float64
	// Restart is docker's restart policy; empty is "no".
	Restart string
	// GPUCache keeps what the GPU's driver compiles from run to run.
	GPUCache bool
	// Env are the server's variables ("NAME=value"). They can be seen by who may
	// inspect the container: no secrets.
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
	// ServerPort is what the server listens on inside its container.
	ServerPort = 8080
)

// specVersion enters the run digest and is raised when the same Spec comes to
// make another container.
const specVersion = 1

var (
	numericUser   = regexp.MustCompile(`^\d+(:\d+)?$`)
	restartPolicy = regexp.MustCompile(`^(|no|always|unless-stopped|on-failure(:\d+)?)$`)
)

// withDefaults fills in what s says nothing about.
func (s Spec) withDefaults() Spec {
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
	s = s.withDefaults()
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if err := handoff.ValidID(s.Pool); err != nil {
		errs = append(errs, err)
	}
	if err := handoff.ValidReplicaID(s.Replica); err != nil {
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
	if _, err := netip.ParseAddr(s.Listen); err != nil {
		bad("--listen %s is no IP address", s.Listen)
	}
	if s.Port < 0 || s.Port > 65535 {
		bad("--port %d is none of 1 to 65535", s.Port)
	}
	if uid, _, _ := strings.Cut(s.User, ":"); !numericUser.MatchString(s.User) || strings.Trim(uid, "0") == "" {
		bad("the server's user %q must be numeric and not root", s.User)
	}
	if !restartPolicy.MatchString(s.Restart) {
		bad("--restart %s is none of no, always, unless-stopped and on-failure[:N]", s.Restart)
	}
	if s.GPUs != "" && slices.Contains(strings.Split(s.GPUs, ","), "") {
		bad("--gpus %q has an empty name in it", s.GPUs)
	}
	// Less than this Docker refuses, in words that help nobody.
	if s.Memory < 0 || s.Memory > 0 && s.Memory < 6<<20 {
		bad("--memory %d is less than 6 MiB", s.Memory)
	}
	if !(s.CPUs >= 0 && s.CPUs < 1e6) { // written so that NaN is out too
		bad("--cpus %v is no number of cores", s.CPUs)
	}
	if len(errs) == 0 {
		return nil
	}
	return fault.New(fault.Usage, "the server cannot be started like this", errors.Join(errs...), "see `llorch-bk run --help`")
}

// Name is the container's name, which follows from the replica's place alone.
// Since an engine gives a name only once, it keeps two starts of one replica apart.
func (s Spec) Name() string { return ContainerName(s.Project, s.Pool, s.Replica) }

// ContainerName is the name of the container of a replica of the project's pool.
func ContainerName(project, pool, replica string) string {
	sum := sha256.Sum256([]byte(project))
	return "llorch-" + pool + "-" + replica + "-" + hex.EncodeToString(sum[:4])
}

// RunDigest identifies what makes the container behave as it does: two specs
// with the same one need not be run twice. Left out are names and labels, which
// can be wrong without the server being so, and a port that nobody asked for.
func (s Spec) RunDigest() string {
	s = s.withDefaults()
	env := slices.Clone(s.Env)
	slices.Sort(env)
	// A struct's fields have a fixed order, so the same spec is the same JSON.
	body, err := json.Marshal(struct {
		Version                int
		Project, Pool, Replica string
		Image                  string
		Entrypoint, Flags      []string
		Model                  Mount
		Listen                 string
		Port                   int
		User, GPUs             string
		Memory                 int64
		CPUs                   float64
		Restart                string
		GPUCache               bool
		Env                    []string
	}{
		specVersion, s.Project, s.Pool, s.Replica, s.Image, orEmpty(s.Entrypoint), orEmpty(s.Flags),
		s.Model, s.Listen, s.Port, s.User, s.GPUs, s.Memory, s.CPUs, s.Restart, s.GPUCache, orEmpty(env),
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

// Args are the server's arguments. The port is said though the image may set
// it: the server's default is about to change.
func (s Spec) Args() []string {
	return append([]string{
		"--host", "0.0.0.0", "--port", strconv.Itoa(ServerPort), "--model", s.Model.Path(),
	}, s.Flags...)
}
