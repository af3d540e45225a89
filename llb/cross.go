package llb

import (
	"fmt"
	"slices"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
)

// These functions are for an image that is compiled on a builder of another platform. The
// steps run on the builder's platform, with tools and packages for the image's. For other
// images they do nothing.

// tools tells a step's script the prefix of the compiler and binutils for the image's
// platform: the triple.
func (b builder) tools() bkllb.RunOption {
	if b.plan.Cross == nil {
		return noRunOption{}
	}
	return bkllb.AddEnv("CROSS", b.plan.Cross.Triple)
}

// runs reports whether the builder can run the image's programs.
func (b builder) runs() bool {
	return b.plan.Cross == nil || slices.Contains(b.caps.Runs, b.plan.Platform)
}

// forImage is for steps that take packages for the image's platform instead of their own.
func (b builder) forImage() builder {
	if b.plan.Cross != nil {
		b.arch = b.platform.Architecture
	}
	return b
}

// aptFor makes apt download packages for another architecture. They are unpacked, not
// installed, and none of their programs runs.
func (b builder) aptFor() bkllb.RunOption {
	if b.arch == "" {
		return noRunOption{}
	}
	const dir, file = "/llorch-apt", "apt.conf"
	conf := fmt.Sprintf("APT::Architecture %q;\nAPT::Architectures %q;\n", b.arch, b.arch)
	st := bkllb.Scratch().Platform(b.steps).File(bkllb.Mkfile("/"+file, 0o644, []byte(conf)), bkllb.WithCustomName("[script] "+file))
	return runOptions{bkllb.AddMount(dir, st, bkllb.Readonly), bkllb.AddEnv("APT_CONFIG", dir+"/"+file)}
}

// titled adds the platform to a step's title, because the images of an index have steps
// with equal titles.
func (b builder) titled(title string) string {
	if b.plan.Cross == nil {
		return title
	}
	return title + " (" + b.plan.Platform + ")"
}

// compilerScope names the compiler cache: steps with the same name may share it.
func (b builder) compilerScope(base images.BaseFacts) string {
	scope := b.cacheScope(base)
	if b.plan.Cross != nil {
		scope += "-" + b.platform.Architecture
	}
	return scope
}

// runOptions combines several options.
type runOptions []bkllb.RunOption

func (all runOptions) SetRunOption(ei *bkllb.ExecInfo) {
	for _, opt := range all {
		opt.SetRunOption(ei)
	}
}
