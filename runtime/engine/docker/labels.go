package docker

// Labels of containers and volumes. They are the only record of what runs. A container also
// inherits its image's labels, which have other names.
const (
	// LabelPool and LabelReplica name a server's replica; a container with LabelPool is a
	// server.
	LabelPool    = "dev.llorch.pool"
	LabelReplica = "dev.llorch.replica"
	// LabelProject is the absolute handoff folder, which identifies the pool's project.
	LabelProject = "dev.llorch.project"
	// LabelRunDigest is Spec.RunDigest.
	LabelRunDigest = "dev.llorch.run-digest"
	// LabelPort is the published port, in decimal.
	LabelPort = "dev.llorch.port"
	// LabelURL is the server's base URL, as seen from the machine that started it.
	LabelURL = "dev.llorch.url"
	// LabelHandoff is the path of the handoff file.
	LabelHandoff = "dev.llorch.handoff"
	// LabelImageRef is the image's name as the user gave it.
	LabelImageRef = "dev.llorch.image-ref"
	// LabelRole is one of the Role values. Every container and volume that this program
	// creates has it.
	LabelRole = "dev.llorch.role"
	// LabelModelKey, on a volume with a copy of a model, identifies the model.
	LabelModelKey = "dev.llorch.model-key"
	// LabelModelHost, on a volume, is the model's path on the host.
	LabelModelHost = "dev.llorch.model-host"
)

// The values of LabelRole.
const (
	// RoleServer is a container that runs a server.
	RoleServer = "server"
	// RoleHelper is a short-lived container; a left-over one may be removed.
	RoleHelper = "helper"
	// RoleModel is a volume that shows a model's folder, or holds a copy of a model.
	RoleModel = "model"
	// RoleCache is a volume for code that a GPU's driver compiles.
	RoleCache = "cache"
	// RoleState is a volume that a replica's servers write to.
	RoleState = "state"
	// RoleSecret is a volume with a copy of a secret. It has no name and goes with its
	// container.
	RoleSecret = "secret"
)
