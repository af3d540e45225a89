package docker

// Labels on what we make on an engine. They are the only record of what runs.
// A container also inherits its image's labels, which have other names.
const (
	// LabelPool and LabelReplica name a server's place; a container that has
	// LabelPool is a server of ours.
	LabelPool    = "dev.llorch.pool"
	LabelReplica = "dev.llorch.replica"
	// LabelProject is the absolute handoff folder that the pool belongs to.
	LabelProject = "dev.llorch.project"
	// LabelRunDigest is Spec.RunDigest.
	LabelRunDigest = "dev.llorch.run-digest"
	// LabelPort is the port that is published, in decimal.
	LabelPort = "dev.llorch.port"
	// LabelURL is the server's base URL as seen from where it was started.
	LabelURL = "dev.llorch.url"
	// LabelHandoff is the path of the handoff file.
	LabelHandoff = "dev.llorch.handoff"
	// LabelImageRef is the name that the image was asked for by.
	LabelImageRef = "dev.llorch.image-ref"
	// LabelRole says what a container or volume of ours is for; it has one of
	// the Role values, and everything that we make has it.
	LabelRole = "dev.llorch.role"
	// LabelModelKey, on a volume that holds a copy of a model, says of which.
	LabelModelKey = "dev.llorch.model-key"
	// LabelModelHost, on a volume, is the model's path on the host.
	LabelModelHost = "dev.llorch.model-host"
)

// The values of LabelRole.
const (
	// RoleServer is a container that serves.
	RoleServer = "server"
	// RoleHelper is a container that lives for a moment: one that is left over
	// may be removed.
	RoleHelper = "helper"
	// RoleModel is a volume through which a model is seen, or that holds a copy.
	RoleModel = "model"
	// RoleCache is a volume for what a GPU's driver compiles.
	RoleCache = "cache"
	// RoleState is a volume that a replica's servers write to.
	RoleState = "state"
	// RoleSecret is a volume with a copy of a secret. It has no name and goes with its
	// container.
	RoleSecret = "secret"
)
