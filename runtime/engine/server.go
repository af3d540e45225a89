package engine

import (
	"time"

	"github.com/llorch/llorch-bk/runtime/replica"
)

// Server is a server on an engine, as it was when it was started or observed.
type Server struct {
	// ID is the engine's id of the server, Name its name there.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Project, Pool and Replica identify the replica.
	Project string `json:"project"`
	Pool    string `json:"pool"`
	Replica string `json:"replica"`
	// Standby is true for a server that will replace its replica's own.
	Standby bool `json:"standby,omitempty"`
	// Foreign is true for anything that has a requested name but is not llorch-bk's server.
	Foreign bool `json:"foreign,omitempty"`
	// RunDigest is the digest of the Spec that it was created from.
	RunDigest string `json:"run_digest"`
	// Image is the image's id, ImageRef its name as the user gave it.
	Image    string `json:"image"`
	ImageRef string `json:"image_ref"`
	// Port is the host's port; URL is the server's base URL, without a trailing slash.
	Port int    `json:"port"`
	URL  string `json:"url"`
	// Handoff is the path of the handoff file, ModelPath the model's path on the host.
	Handoff   string `json:"handoff"`
	ModelPath string `json:"model_path"`
	// Labels are the labels from the image and the Spec.
	Labels map[string]string `json:"-"`
	// State is the server's state at that time.
	State State `json:"state"`
}

// Labels for values that a Spec has no field for. They allow writing a handoff from a server
// alone.
const (
	// LabelModel is the model's reference as the user gave it.
	LabelModel = "dev.llorch.model"
	// LabelContent is Model.Content; absent where that is not known.
	LabelContent = "dev.llorch.model-content"
	// LabelFlags are the server's flags, as a JSON list.
	LabelFlags = "dev.llorch.flags"
	// LabelFiles are the Spec's Files, as a JSON list; absent for none.
	LabelFiles = "dev.llorch.files"
	// LabelCompanions are the model's companions, as a JSON list; absent for none.
	LabelCompanions = "dev.llorch.companions"
	// LabelDeviceMask names the GPUs that the server may use; absent for none.
	LabelDeviceMask = "dev.llorch.device-mask"
)

// Of is the server's replica.
func (s Server) Of() replica.ID {
	return replica.ID{Project: s.Project, Pool: s.Pool, Replica: s.Replica}
}

// State is a server's state at one moment.
type State struct {
	// Status is docker's word: created, running, restarting, exited …
	Status string `json:"status"`
	// Running is true if its process runs now; it is false between restarts.
	Running bool `json:"running"`
	// ExitCode is the last exit code; for a signal it is 128 plus the signal's number.
	ExitCode int `json:"exit_code,omitempty"`
	// Signal is the number of the signal that ended it; 0 for none.
	Signal int `json:"signal,omitempty"`
	// OOMKilled is true if the kernel killed it because memory ran out.
	OOMKilled bool `json:"oom_killed,omitempty"`
	// Error is the engine's error if it could not start or restart the server.
	Error string `json:"error,omitempty"`
	// CreatedAt, StartedAt and FinishedAt are the times of creation, last start and last end;
	// zero if that did not happen.
	CreatedAt  time.Time `json:"created_at,omitzero"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	// Health is docker's word for the image's health check; empty if there is none.
	Health string `json:"health,omitempty"`
	// Restarts is how often the engine restarted it.
	Restarts int `json:"restarts,omitempty"`
}
