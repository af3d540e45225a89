package llb

import (
	"fmt"
	"slices"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
)

// What follows is for an image that is compiled on a builder of another platform: its
// steps run on the builder's, with tools and packages for the image's. For any other
// image all of it does nothing.

// tools tell a step's script which compiler and binutils write and read the image's code:
// those whose names begin with the triple.
func (b builder) tools() bkllb.RunOption {
	if b.plan.Cross == nil {
		return noRunOption{}
	}
	return bkllb.AddEnv("CROSS", b.plan.Cross.Triple)
}

// runs says whether the builder can run the image's programs.
func (b builder) runs() bool {
	return b.plan.Cross == nil || slices.Contains(b.caps.Runs, b.plan.Platform)
}

// forImage is for steps whose packages are the image's, and not for their own base.
func (b builder) forImage() builder {
	if b.plan.Cross != nil {
		b.arch = b.platform.Architecture
	}
	return b
}

// aptFor has apt fetch packages of another architecture than its own. Nothing of them is
// installed, and nothing runs: their files are unpacked.
func (b builder) aptFor() bkllb.RunOption {
	if b.arch == "" {
		return noRunOption{}
	}
	const dir, file = "/llorch-apt", "apt.conf"
	conf := fmt.Sprintf("APT::Architecture %q;\nAPT::Architectures %q;\n", b.arch, b.arch)
	st := bkllb.Scratch().Platform(b.steps).File(bkllb.Mkfile("/"+file, 0o644, []byte(conf)), bkllb.WithCustomName("[script] "+file))
	return runOptions{bkllb.AddMount(dir, st, bkllb.Readonly), bkllb.AddEnv("APT_CONFIG", dir+"/"+file)}
}

// titled is a step's title; an index's images have steps that are called the same.
func (b builder) titled(title string) string {
	if b.plan.Cross == nil {
		return title
	}
	return title + " (" + b.plan.Platform + ")"
}

// compilerScope names what may share a compiler's cache.
func (b builder) compilerScope(base images.BaseFacts) string {
	scope := b.cacheScope(base)
	if b.plan.Cross != nil {
		scope += "-" + b.platform.Architecture
	}
	return scope
}

// runOptions are several in one.
type runOptions []bkllb.RunOption

func (all runOptions) SetRunOption(ei *bkllb.ExecInfo) {
	for _, opt := range all {
		opt.SetRunOption(ei)
	}
}
