package llb

import (
	"slices"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
)

// NPMMount is the name under which the web UI's packages are sent to the builder, in the
// layout of npm's cache.
const NPMMount = "npm"

// npmCache is npm's cache in a step.
const npmCache = "/npm"

// webUI builds the server's web UI. Its key has only its own files, neither the compilers
// nor the rest of the tree. It needs a network for its packages, unless this machine sends
// them. Besides it, only steps that install or download packages have a network.
func (b builder) webUI(tree bkllb.State) bkllb.State {
	opts := append([]bkllb.RunOption{
		bkllb.Args([]string{"sh", "/llorch/ui.sh"}),
		b.scripts(script{"ui.sh", uiScript}, script{"npm-ci.sh", npmCIScript}),
		bkllb.AddMount("/src", tree, bkllb.SourcePath("/"+images.UIPart), bkllb.Readonly),
	}, b.npmPackages()...)
	opts = append(opts, b.fresh(), b.named(StepUI, "", "[ui] build the web UI"))
	return b.node().Run(opts...).AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// node is the toolchain of the web UI.
func (b builder) node() bkllb.State {
	return b.install("[npm] install ", b.plan.Build, nil, b.plan.UI.Packages)
}

// npmPackages are the options of a step that needs the web UI's packages.
func (b builder) npmPackages() []bkllb.RunOption {
	if slices.Contains(b.opt.Sent, NPMMount) {
		return []bkllb.RunOption{
			// npm also writes into this folder. The mount has no output, so that the step
			// is keyed by the files that are sent.
			bkllb.AddMount(npmCache, b.sent(NPMMount, NPMMount, "[fetch] npm packages of this machine"), bkllb.ForceNoOutput),
			// Offline, npm fails at once and names a missing package.
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
