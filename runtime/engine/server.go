package engine

import (
	"time"

	"github.com/llorch/llorch-bk/runtime/replica"
)

// Server is a server that is on an engine. Its fields are what was true when it was
// started or observed.
type Server struct {
	// ID is the engine's id of it, Name its name there.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Project, Pool and Replica are its place.
	Project string `json:"project"`
	Pool    string `json:"pool"`
	Replica string `json:"replica"`
	// Standby is a server that is to replace its replica's own.
	Standby bool `json:"standby,omitempty"`
	// Foreign is whatever has a name that was asked for and is no server of ours.
	Foreign bool `json:"foreign,omitempty"`
	// RunDigest is that of the Spec it was made from.
	RunDigest string `json:"run_digest"`
	// Image is the image's id, ImageRef the name that it was asked for by.
	Image    string `json:"image"`
	ImageRef string `json:"image_ref"`
	// Port is the host's; URL is the server's base, without a final slash.
	Port int    `json:"port"`
	URL  string `json:"url"`
	// Handoff is the path of the handoff file, ModelPath the model's on the host.
	Handoff   string `json:"handoff"`
	ModelPath string `json:"model_path"`
	// Labels are what the image and the Spec say beside all this.
	Labels map[string]string `json:"-"`
	// State is how it was.
	State State `json:"state"`
}

// The keys of Labels that say what a Spec's own fields do not, so that a handoff can
// be written from a server alone.
const (
	// LabelModel is the model's reference as the user gave it.
	LabelModel = "dev.llorch.model"
	// LabelFlags are the server's flags, as a JSON list.
	LabelFlags = "dev.llorch.flags"
	// LabelFiles are the Spec's Files, as a JSON list; absent without.
	LabelFiles = "dev.llorch.files"
	// LabelDeviceMask names the GPUs that the server may use; absent without.
	LabelDeviceMask = "dev.llorch.device-mask"
)

// Of is the replica that the server is of.
func (s Server) Of() replica.ID {
	return replica.ID{Project: s.Project, Pool: s.Pool, Replica: s.Replica}
}

// State is what an engine knows about a server at a moment.
type State struct {
	// Status is docker's word for it: created, running, restarting, exited …
	Status string `json:"status"`
	// Running is whether its process runs now, which it does not between restarts.
	Running bool `json:"running"`
	// ExitCode is the last exit's; 128 and more is 128 plus a signal's number.
	ExitCode int `json:"exit_code,omitempty"`
	// Signal is the number of the signal that ended it, 0 for none.
	Signal int `json:"signal,omitempty"`
	// OOMKilled is whether the kernel killed it for lack of memory.
	OOMKilled bool `json:"oom_killed,omitempty"`
	// Error is the engine's own, when it could not start or restart it.
	Error string `json:"error,omitempty"`
	// CreatedAt, StartedAt and FinishedAt are times of its creation and of its last
	// start and end, zero before.
	CreatedAt  time.Time `json:"created_at,omitzero"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	// Health is docker's word from the image's own probe, empty where it has none.
	Health string `json:"health,omitempty"`
	// Restarts is how often the engine has restarted it.
	Restarts int `json:"restarts,omitempty"`
}
