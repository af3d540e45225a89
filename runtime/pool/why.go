package pool

import (
	"fmt"
	"strings"

	"github.com/llorch/llorch-bk/runtime/engine"
)

// why says why a new server is needed.
func (r run) why(spec engine.Spec) string {
	own := r.have.own
	switch {
	case own == nil:
		return "pool " + r.id.String() + " is not running"
	case !own.State.Running:
		return state(own)
	case r.wanted.Build != "" || own.Image != spec.Image:
		return "its image is another one"
	case r.wanted.Fetch != "" || otherModel(own, spec):
		return "its model is another one"
	case spec.Port != 0 && own.Port != spec.Port:
		return fmt.Sprintf("its port is %d, not %d", own.Port, spec.Port)
	case own.Labels[engine.LabelDeviceMask] != spec.Labels[engine.LabelDeviceMask]:
		return fmt.Sprintf("its GPUs are %s, not %s", orNone(own.Labels[engine.LabelDeviceMask]), orNone(spec.Labels[engine.LabelDeviceMask]))
	case own.Labels[engine.LabelCompanions] != spec.Labels[engine.LabelCompanions]:
		return "its model's companions differ"
	case own.Labels[engine.LabelFiles] != spec.Labels[engine.LabelFiles]:
		return "a file that its flags name differs"
	case own.Labels[engine.LabelFlags] != spec.Labels[engine.LabelFlags]:
		return "its flags differ"
	}
	return "its address, user or limits differ"
}

// otherModel says whether a server serves another model than is wanted: by the content
// where both have it, else by path and name.
func otherModel(own *engine.Server, spec engine.Spec) bool {
	if has := own.Labels[engine.LabelContent]; has != "" && spec.Model.Content != "" {
		return has != spec.Model.Content
	}
	return own.ModelPath != spec.Model.HostFile || own.Labels[engine.LabelModel] != spec.Labels[engine.LabelModel]
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// state describes a server that is not running.
func state(s *engine.Server) string {
	switch {
	case s.State.Status == "exited" && s.State.OOMKilled:
		return "it was killed because memory ran out"
	case s.State.Status == "exited":
		return fmt.Sprintf("it exited with code %d", s.State.ExitCode)
	case s.State.Status == "created":
		return "it was created and never started"
	}
	return "it is " + s.State.Status
}

func gpus(s engine.Spec) string {
	list := "the GPUs " + s.GPUs
	if s.GPUs == "all" {
		list = "all GPUs"
	}
	return strings.TrimSpace(list + " (" + s.Device + ")")
}

func imageName(s engine.Spec) string {
	if s.ImageRef != "" {
		return "image " + s.ImageRef
	}
	return "image " + s.Image
}

func serverName(s *engine.Server) string {
	if s == nil {
		return "the new server"
	}
	return "container " + s.Name
}
