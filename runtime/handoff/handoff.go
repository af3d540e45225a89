package handoff

import (
	"bytes"
	"encoding/json"
	"time"
)

// Schema is the value of Handoff.Schema. It is raised when a field beyond the contract changes
// its meaning; the eight contract fields never do.
const Schema = 1

// The fixed values of the contract fields.
const (
	// EngineLlamaCPP is the only value of Handoff.Engine.
	EngineLlamaCPP = "llamacpp"
	// ModeExternal is a server that somebody else runs.
	ModeExternal = "external"
	// ModeSource is a server that llorch-bk compiled from source.
	ModeSource = "source"
	// ModeContainer is a server from an image that llorch-bk did not build.
	ModeContainer = "container"
	// ModePackage is a server from a distribution's package.
	ModePackage = "package"
	// ModeBinary is a server from a downloaded binary.
	ModeBinary = "binary"
)

// Handoff describes one ready replica of a pool. The first eight fields are the contract with
// other programs, in this order; llorch-bk added the rest.
type Handoff struct {
	// Engine is EngineLlamaCPP.
	Engine string `json:"engine"`
	// EngineVersion is the running server's own version, else
	// "llamacpp-source:<ref>-<variant>".
	EngineVersion string `json:"engine_version"`
	// ProvisioningMode is one of the Mode constants.
	ProvisioningMode string `json:"provisioning_mode"`
	// URL is the server's base URL, without a trailing slash.
	URL string `json:"url"`
	// PoolID names the pool; see replica.ValidPool.
	PoolID string `json:"pool_id"`
	// ReplicaID names the replica in its pool; see replica.ValidReplica.
	ReplicaID string `json:"replica_id"`
	// Model is the served model.
	Model Model `json:"model"`
	// Flags are the server's flags as applied, without model, host and port.
	Flags []string `json:"flags"`

	// Schema is the constant of the same name.
	Schema int `json:"schema"`
	// Files are read by the server besides its model, as its flags name them.
	Files []File `json:"files,omitempty"`
	// Image is the server's image.
	Image Image `json:"image"`
	// Container is the server's container.
	Container Container `json:"container"`
	// EngineHost is the address of the container engine; empty for a local one.
	EngineHost string `json:"engine_host,omitempty"`
	// EngineID is the container engine's own id; empty if it has none. Only that engine can
	// tell whether the server has ended.
	EngineID string `json:"engine_id,omitempty"`
	// SlotsTotal is the number of requests that the server handles at once; 0 if unknown.
	SlotsTotal int `json:"slots_total,omitempty"`
	// GPU is the proof of the GPUs that the server uses; nil if it uses none.
	GPU *GPU `json:"gpu,omitempty"`
	// DeviceMask names the GPUs that the server may use; empty for none.
	DeviceMask string `json:"device_mask,omitempty"`
	// RunDigest is the digest of all settings of the container.
	RunDigest string `json:"run_digest"`
	// Commit is the full commit that the server was built from.
	Commit string `json:"commit"`
	// StartedAt is when the container started.
	StartedAt time.Time `json:"started_at"`
	// ReadyAt is when the server first was ready.
	ReadyAt time.Time `json:"ready_at"`
}

// GPU is the proof of the GPUs that a server uses.
type GPU struct {
	// Backend is ggml's name of the backend, as CUDA.
	Backend string `json:"backend"`
	// Devices are the GPUs.
	Devices []Device `json:"devices"`
	// Evidence are the lines of the server's log that prove it, oldest first.
	Evidence []string `json:"evidence"`
}

// Device is a GPU as ggml names it.
type Device struct {
	// Name is ggml's name, as CUDA0.
	Name string `json:"name"`
	// Description is the driver's name for it, as NVIDIA GeForce RTX 3090.
	Description string `json:"description,omitempty"`
}

// File is a file or folder that a server reads besides its model.
type File struct {
	// Path is its path on the host, ServerPath the path in the server's flags.
	Path       string `json:"path"`
	ServerPath string `json:"server_path"`
}

// Model is the served model.
type Model struct {
	// ID is the model reference as the user gave it.
	ID string `json:"id"`
	// Path is the model file on the host.
	Path string `json:"path"`
	// Companions are the files that are served together with it.
	Companions []Companion `json:"companions,omitempty"`
}

// Companion is a file that belongs to a model.
type Companion struct {
	// Kind is what it is to the model: "mmproj", "draft" or "lora".
	Kind string `json:"kind"`
	// Ref is its reference as the user gave it, or as it was found.
	Ref string `json:"ref"`
	// Path is its file on the host; of several, the first.
	Path string `json:"path"`
	// Size is the bytes of all its files, SHA256 the hash of the one at Path, in hex.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Scale is how much an adapter counts; absent where the server's flags say it.
	Scale *float64 `json:"scale,omitempty"`
}

// Image is the server's image.
type Image struct {
	// Ref is its name as the user gave it.
	Ref string `json:"ref"`
	// ID is the engine's id of the image, "sha256:" and 64 hex digits.
	ID string `json:"id"`
	// Recipe is the digest of everything that makes its content; empty for a foreign image.
	Recipe string `json:"recipe"`
}

// Container is the server's container.
type Container struct {
	// ID is the engine's full id of the container.
	ID string `json:"id"`
	// Name is its name, without the leading slash that engines add.
	Name string `json:"name"`
}

// JSON is h as it is written to disk: indented, with a final newline, an empty list if there
// are no flags, and times in whole seconds of UTC.
func (h Handoff) JSON() ([]byte, error) {
	if h.Flags == nil {
		h.Flags = []string{}
	}
	h.StartedAt = h.StartedAt.UTC().Truncate(time.Second)
	h.ReadyAt = h.ReadyAt.UTC().Truncate(time.Second)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	// People read paths and URLs too: do not escape ampersands.
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(h); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
