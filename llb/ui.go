package llb

import (
	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
)

// webUI is the server's web UI, keyed by its own files alone: neither the compilers
// nor the rest of the tree are in its way. It and the packages that it takes need a
// network, as the toolchain does; no other step has one.
func (b builder) webUI(tree bkllb.State) bkllb.State {
	opts := []bkllb.RunOption{
		bkllb.Args([]string{"sh", "/llorch/ui.sh"}),
		b.scripts(script{"ui.sh", uiScript}),
		bkllb.AddMount("/src", tree, bkllb.SourcePath("/"+images.UIPart), bkllb.Readonly),
		bkllb.AddMount("/npm", bkllb.Scratch(), bkllb.AsPersistentCacheDir("llorch-npm", bkllb.CacheMountShared)),
		b.caSecret(),
		b.proxy(),
		b.fresh(),
		b.named(StepUI, "", "[ui] build the web UI"),
	}
	node := b.install("[npm] install ", b.plan.Build, nil, b.plan.UI.Packages)
	return node.Run(opts...).AddMount("/out", bkllb.Scratch().Platform(b.platform))
}
