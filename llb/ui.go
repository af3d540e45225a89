package llb

import (
	"slices"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
)

// NPMMount is the name under which the web UI's packages are sent to the builder, as
// npm keeps them in its cache.
const NPMMount = "npm"

// npmCache is npm's cache in a step.
const npmCache = "/npm"

// webUI is the server's web UI, keyed by its own files alone: neither the compilers
// nor the rest of the tree are in its way. It and the packages that it takes need a
// network, as the toolchain does, unless this machine has them; no other step has one.
func (b builder) webUI(tree bkllb.State) bkllb.State {
	opts := append([]bkllb.RunOption{
		bkllb.Args([]string{"sh", "/llorch/ui.sh"}),
		b.scripts(script{"ui.sh", uiScript}, script{"npm-ci.sh", npmCIScript}),
		bkllb.AddMount("/src", tree, bkllb.SourcePath("/"+images.UIPart), bkllb.Readonly),
	}, b.npmPackages()...)
	opts = append(opts, b.fresh(), b.named(StepUI, "", "[ui] build the web UI"))
	return b.node().Run(opts...).AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// node is what builds the web UI.
func (b builder) node() bkllb.State {
	return b.install("[npm] install ", b.plan.Build, nil, b.plan.UI.Packages)
}

// npmPackages are the options of a step that takes the web UI's packages.
func (b builder) npmPackages() []bkllb.RunOption {
	if slices.Contains(b.opt.Sent, NPMMount) {
		return []bkllb.RunOption{
			// npm writes beside what it finds there. What it writes is dropped, so that the
			// step is keyed by what is sent.
			bkllb.AddMount(npmCache, b.sent(NPMMount, NPMMount, "[fetch] npm's packages that are kept on this machine"), bkllb.ForceNoOutput),
			// It asks nobody for what is missing, and says at once what that is.
			bkllb.AddEnv("npm_config_offline", "true"),
			bkllb.Network(bkllb.NetModeNone),
		}
	}
	return []bkllb.RunOption{
		bkllb.AddMount(npmCache, bkllb.Scratch(), bkllb.AsPersistentCacheDir("llorch-npm", bkllb.CacheMountShared)),
		b.caSecret(),
		b.proxy(),
	}
}
