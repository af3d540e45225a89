package llb

import (
	"errors"
	"path"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
)

// Fetch is a set of a plan's packages that are pinned by hash, and the base whose archives
// provide them.
type Fetch struct {
	// Name is the set's name in Options.Sent.
	Name     string
	Base     images.BaseFacts
	Packages []images.Package
}

// Fetches are the different sets of pinned packages that a plan's steps need; none if the
// plan does not come from a lock.
func Fetches(p images.Plan) []Fetch {
	var out []Fetch
	add := func(base images.BaseFacts, packages []images.Package) {
		if !images.Pinned(packages) {
			return
		}
		f := Fetch{Name: PackageMount(packages), Base: base, Packages: packages}
		for _, has := range out {
			if has.Name == f.Name {
				return
			}
		}
		out = append(out, f)
	}
	add(p.Build, p.Packages)
	if p.UI != nil {
		add(p.Build, p.UI.Packages)
	}
	if a := p.Accelerator; a != nil {
		add(a.Base, a.Packages)
	}
	if p.Runtime.Made() {
		add(p.Build, p.Runtime.Packages)
	} else {
		add(p.Runtime.Base, p.Runtime.Packages)
	}
	return out
}

// Download is a state with packages of a plan as files, downloaded on one of the plan's
// bases.
func Download(p images.Plan, caps Capabilities, opt Options, base images.BaseFacts, packages []images.Package) (bkllb.State, error) {
	b, err := newBuilder(p, caps, opt)
	if err != nil {
		return bkllb.State{}, err
	}
	return b.download(base, packages), nil
}

// The files in the state of DownloadNPM.
const (
	// NPMContent is the folder with the packages. They are named by sha512, as in npm's
	// cache.
	NPMContent = "content-v2"
	// NPMLock is the lock file that lists them.
	NPMLock = "package-lock.json"
)

// DownloadNPM is a state with the npm packages of a plan's web UI as files, for the plan's
// platform.
func DownloadNPM(p images.Plan, caps Capabilities, opt Options) (bkllb.State, error) {
	b, err := newBuilder(p, caps, opt)
	if err != nil {
		return bkllb.State{}, err
	}
	if p.UI == nil {
		return bkllb.State{}, errors.New("the plan has no web UI")
	}
	run := b.node().Run(
		bkllb.Args([]string{"sh", "/llorch/npm.sh"}),
		b.scripts(script{"npm.sh", npmScript}, script{"npm-ci.sh", npmCIScript}),
		bkllb.AddMount("/src", b.source(), bkllb.SourcePath("/"+path.Dir(images.UILockFile)), bkllb.Readonly),
		b.caSecret(),
		b.proxy(),
		b.named(StepUI, "", "[fetch] npm packages of the web UI"),
	)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform)), nil
}
