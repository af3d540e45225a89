package llb

import (
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
)

// ObjectsSocket is the id under which a session lends compile steps a socket, by which
// they get and give objects of the compiler cache. BuildKit forwards it as it does an SSH
// agent's: what passes through it is in no key.
const ObjectsSocket = "llorch-objects"

// Slots name where the objects of a plan's parts are kept, in the plan's order: platform and
// base, part, and what it is compiled for. A locked plan has none.
func Slots(p images.Plan) ([]string, error) {
	if images.Pinned(p.Packages) {
		return nil, nil
	}
	b, err := newBuilder(p, Capabilities{}, Options{})
	if err != nil {
		return nil, err
	}
	var slots []string
	for _, part := range p.Parts {
		slots = append(slots, b.slot(part))
	}
	return slots, nil
}

// carried lends a compile step the socket. It is always there to be lent, whether a build
// has anything to carry or not: the step is the same.
func (b builder) carried(part images.Part) []bkllb.RunOption {
	return []bkllb.RunOption{
		bkllb.AddSSHSocket(bkllb.SSHID(ObjectsSocket), bkllb.SSHSocketTarget("/run/llorch/objects"), bkllb.SSHOptional),
		bkllb.AddEnv("SLOT", b.slot(part)),
	}
}

func (b builder) slot(part images.Part) string {
	// What names the commit is another with each, and so would the slot be.
	flags := slices.DeleteFunc(slices.Concat(b.plan.CMake.Flags, part.Flags), func(f string) bool { return strings.HasPrefix(f, "-DLLAMA_BUILD_") })
	of := digest.FromString(strings.Join(flags, "\x00")).Encoded()[:12]
	return b.compilerScope(b.partBase(part)) + "/" + part.Name + "/" + of
}
