package llb

import (
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
)

// ObjectsSocket is the id of a socket that a session forwards to compile steps. Through it
// they get and give objects of the compiler cache. BuildKit forwards it like an SSH agent's
// socket, which is in no cache key.
const ObjectsSocket = "llorch-objects"

// Slots name the places of the parts' objects in the cache, in the plan's order: platform
// and base, part, and digest of its flags. A locked plan has none.
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

// carried forwards the socket to a compile step. The option is always set, even if a build
// transfers no objects, so that the step is the same.
func (b builder) carried(part images.Part) []bkllb.RunOption {
	return []bkllb.RunOption{
		bkllb.AddSSHSocket(bkllb.SSHID(ObjectsSocket), bkllb.SSHSocketTarget("/run/llorch/objects"), bkllb.SSHOptional),
		bkllb.AddEnv("SLOT", b.slot(part)),
	}
}

func (b builder) slot(part images.Part) string {
	// A slot must not change with every commit, so the flags that name it are left out.
	flags := slices.DeleteFunc(slices.Concat(b.plan.CMake.Flags, part.Flags), func(f string) bool { return strings.HasPrefix(f, "-DLLAMA_BUILD_") })
	of := digest.FromString(strings.Join(flags, "\x00")).Encoded()[:12]
	return b.compilerScope(b.partBase(part)) + "/" + part.Name + "/" + of
}
