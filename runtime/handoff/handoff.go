package handoff

import (
	"bytes"
	"encoding/json"
	"time"
)

// Schema is the value of Handoff.Schema. It is raised when one of our own
// fields changes its meaning; the eight contract fields never do.
const Schema = 1

// The fixed words of the contract fields.
const (
	// EngineLlamaCPP is the only value of Handoff.Engine.
	EngineLlamaCPP = "llamacpp"
	// ModeExternal is a server that somebody else runs.
	ModeExternal = "external"
	// ModeSource is a server compiled from source by us.
	ModeSource = "source"
	// ModeContainer is a server from a container image that we did not build.
	ModeContainer = "container"
	// ModePackage is a server from a distribution's package.
	ModePackage = "package"
	// ModeBinary is a server from a downloaded binary.
	ModeBinary = "binary"
)

// Handoff describes one ready replica of a pool. The first eight fields are the
// contract with other programs, in its order; the rest is ours.
type Handoff struct {
	// Engine is EngineLlamaCPP.
	Engine string `json:"engine"`
	// EngineVersion is what the running server says of itself, else
	// "llamacpp-source:<ref>-<variant>".
	EngineVersion string `json:"engine_version"`
	// ProvisioningMode is one of the Mode constants.
	ProvisioningMode string `json:"provisioning_mode"`
	// URL is the server's base, without a final slash.
	URL string `json:"url"`
	// PoolID names the pool; see replica.ValidPool.
	PoolID string `json:"pool_id"`
	// ReplicaID names the replica in its pool; see replica.ValidReplica.
	ReplicaID string `json:"replica_id"`
	// Model is what is served.
	Model Model `json:"model"`
	// Flags are the server's flags as applied, without model, host and port.
	Flags []string `json:"flags"`

	// Schema is the constant of the same name.
	Schema int `json:"schema"`
	// Files are what the server reads beside its model, as its flags name it.
	Files []File `json:"files,omitempty"`
	// Image is what the server runs from.
	Image Image `json:"image"`
	// Container is what the server runs in.
	Container Container `json:"container"`
	// EngineHost is the address of the container engine, empty for the local one.
	EngineHost string `json:"engine_host,omitempty"`
	// EngineID is the container engine's own id; empty where it has none. Only that
	// engine can tell whether the server ended.
	EngineID string `json:"engine_id,omitempty"`
	// SlotsTotal is how many requests the server takes at once, 0 where unknown.
	SlotsTotal int `json:"slots_total,omitempty"`
	// GPU is what the server proved of the GPUs that it uses; nil where it uses none.
	GPU *GPU `json:"gpu,omitempty"`
	// DeviceMask names the accelerators that the server may use, empty for none.
	DeviceMask string `json:"device_mask,omitempty"`
	// RunDigest is the digest of everything that made the container.
	RunDigest string `json:"run_digest"`
	// Commit is the full commit that the server was built from.
	Commit string `json:"commit"`
	// StartedAt is when the container started.
	StartedAt time.Time `json:"started_at"`
	// ReadyAt is when the server first was ready.
	ReadyAt time.Time `json:"ready_at"`
}

// GPU is what a server proved of the GPUs that it uses.
type GPU struct {
	// Backend is ggml's name of what it computes with, as CUDA.
	Backend string `json:"backend"`
	// Devices are the GPUs.
	Devices []Device `json:"devices"`
	// Evidence are the server's own lines that say so, oldest first.
	Evidence []string `json:"evidence"`
}

// Device is a GPU as ggml names it.
type Device struct {
	// Name is ggml's, as CUDA0.
	Name string `json:"name"`
	// Description is the driver's, as NVIDIA GeForce RTX 3090.
	Description string `json:"description,omitempty"`
}

// File is a file or a folder that a server reads beside its model.
type File struct {
	// Path is its path on the host, ServerPath the one that the server's flags have.
	Path       string `json:"path"`
	ServerPath string `json:"server_path"`
}

// Model is the model that is served.
type Model struct {
	// ID is the model reference as the user gave it.
	ID string `json:"id"`
	// Path is the model file on the host, where it can be read.
	Path string `json:"path"`
}

// Image is the image that the server runs from.
type Image struct {
	// Ref is the name that it was asked for by.
	Ref string `json:"ref"`
	// ID is the engine's id of it, "sha256:" and 64 hex digits.
	ID string `json:"id"`
	// Recipe is the digest of what made its content, empty for a foreign image.
	Recipe string `json:"recipe"`
}

// Container is the container that the server runs in.
type Container struct {
	// ID is the engine's full id of it.
	ID string `json:"id"`
	// Name is its name, without the slash that engines put before it.
	Name string `json:"name"`
}

// JSON is h as it stands on disk: indented, with a final newline, an empty list
// where there are no flags, and times in whole seconds of UTC.
func (h Handoff) JSON() ([]byte, error) {
	if h.Flags == nil {
		h.Flags = []string{}
	}
	h.StartedAt = h.StartedAt.UTC().Truncate(time.Second)
	h.ReadyAt = h.ReadyAt.UTC().Truncate(time.Second)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	// Paths and URLs are to be read by people too: an ampersand stays one.
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(h); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
