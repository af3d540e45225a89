package llb

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images"
	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
)

// PackagesFile is what a state of ResolvePackages has: a line for each package.
const PackagesFile = "packages"

// Names of the sets that ResolvePackages finds.
const (
	setToolchain   = "toolchain"
	setAccelerator = "accelerator"
	setUI          = "ui"
	setRuntime     = "runtime"
)

// ResolvePackages are states that find out which packages the distributions of a plan's
// bases would give it now, each of its own. now makes them ask again.
func ResolvePackages(p images.Plan, caps Capabilities, opt Options, now string) ([]bkllb.State, error) {
	b, err := newBuilder(p, caps, opt)
	if err != nil {
		return nil, err
	}
	sets := map[string][]string{} // of the bases, and of the image's own architecture
	add := func(base, set, how string, packages []images.Package) {
		if len(packages) > 0 {
			sets[base] = append(sets[base], strings.Join(slices.Concat([]string{set, how}, packageNames(packages)), " "))
		}
	}
	add("build", setToolchain, "base", p.Packages)
	if p.UI != nil {
		add("build", setUI, "base", p.UI.Packages)
	}
	root := "build"
	if p.Cross != nil {
		root = "root"
	}
	if p.Runtime.Made() {
		add(root, setRuntime, "nothing", p.Runtime.Packages)
		add(root, setRuntime, "alone", p.Runtime.Files)
	}
	states := []bkllb.State{b.resolve(p.Build, nil, sets["build"], now)}
	if len(sets["root"]) > 0 {
		states = append(states, b.forImage().resolve(p.Build, nil, sets["root"], now))
	}
	if !p.Runtime.Made() && len(p.Runtime.Packages) > 0 {
		add("runtime", setRuntime, "base", p.Runtime.Packages)
		states = append(states, b.resolve(p.Runtime.Base, nil, sets["runtime"], now))
	}
	if a := p.Accelerator; a != nil {
		add("accelerator", setAccelerator, "base", a.Packages)
		states = append(states, b.resolve(a.Base, a.Components, sets["accelerator"], now))
	}
	return states, nil
}

func (b builder) resolve(base images.BaseFacts, components, sets []string, now string) bkllb.State {
	run := b.base(base).Run(
		bkllb.Args([]string{"sh", "/llorch/resolve.sh"}),
		b.scripts(script{"resolve.sh", resolveScript}, script{"apt.sh", aptScript}),
		bkllb.AddEnv("SETS", strings.Join(sets, "\n")),
		bkllb.AddEnv("COMPONENTS", strings.Join(components, " ")),
		bkllb.AddEnv("NOW", now),
		b.aptFor(),
		b.caSecret(),
		b.proxy(),
		b.named(StepToolchain, "", b.titled("[lock] find the packages for "+base.Ref)),
	)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// ParsePackages reads what a state of ResolvePackages has into sets that may have some
// already, and gives the distribution's name. Packages are sorted by name.
func ParsePackages(data []byte, into *images.PackageSets) (distribution string, err error) {
	to := map[string]*[]images.Package{setToolchain: &into.Toolchain, setAccelerator: &into.Accelerator, setUI: &into.UI, setRuntime: &into.Runtime}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == "#" {
			distribution = f[1]
			continue
		}
		if len(f) != 7 || to[f[0]] == nil {
			return "", fmt.Errorf("what the archive has of a package cannot be understood: %q", strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return "", fmt.Errorf("the size of %s: %w", f[3], err)
		}
		*to[f[0]] = append(*to[f[0]], images.Package{Name: f[3], Version: f[4], Architecture: f[5], SHA256: f[1], Size: size, Path: f[6]})
	}
	for _, set := range to {
		slices.SortFunc(*set, func(x, y images.Package) int { return strings.Compare(x.Name, y.Name) })
		*set = slices.CompactFunc(*set, func(x, y images.Package) bool { return x == y })
	}
	return distribution, nil
}

// fetched are packages by their hash, as files in a folder: those that this machine has
// come from it, the others from wherever an archive has them.
func (b builder) fetched(base images.BaseFacts, packages []images.Package) bkllb.State {
	name := PackageMount(packages)
	if slices.Contains(b.opt.Sent, name) {
		return b.laid(b.sent(name, name, fmt.Sprintf("[fetch] %d packages that are kept on this machine", len(packages))))
	}
	return b.download(base, packages)
}

// laid are files that were sent, in a folder as a step would have left it. A builder
// takes the top of what it is sent for another folder than a step's, whatever is in it;
// the steps after it would run again.
func (b builder) laid(sent bkllb.State) bkllb.State {
	all := &bkllb.CopyInfo{CopyDirContentsOnly: true}
	return bkllb.Scratch().Platform(b.platform).File(bkllb.Copy(sent, "/", "/", all), bkllb.WithCustomName("[fetch] lay them out"))
}

// PackageMount is the name under which packages are sent to the builder.
func PackageMount(packages []images.Package) string { return "packages-" + packagesID(packages) }

// packagesID tells lists of packages apart.
func packagesID(packages []images.Package) string {
	return digest.FromString(packageList(packages)).Encoded()[:12]
}

// packageList is what fetch.sh reads: sha256, file name, and path in an archive.
func packageList(packages []images.Package) string {
	var list strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&list, "%s %s %s\n", p.SHA256, path.Base(p.Path), p.Path)
	}
	return list.String()
}

// download needs a network, and what it gives is known before it runs; installing that
// does not need one.
func (b builder) download(base images.BaseFacts, packages []images.Package) bkllb.State {
	run := b.base(base).Run(
		bkllb.Args([]string{"sh", "/llorch/fetch.sh"}),
		b.scripts(script{"fetch.sh", fetchScript}, script{"apt.sh", aptScript}, script{"packages", packageList(packages)}),
		// Where a package comes from changes nothing of what it is.
		bkllb.AddSecret("/run/llorch/snapshots", bkllb.SecretID(SnapshotsSecret), bkllb.SecretOptional),
		b.caSecret(),
		b.proxy(),
		b.named(StepToolchain, "", fmt.Sprintf("[fetch] %d packages by their hash (%s)", len(packages), packagesID(packages))),
	)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// debs is where a step finds packages that were fetched.
const debs = "/debs"

// packagesFor are the options of a step that takes packages: fetched ones where they
// are pinned, and then no network; else whatever the archives have.
func (b builder) packagesFor(base images.BaseFacts, packages []images.Package) []bkllb.RunOption {
	if images.Pinned(packages) {
		return []bkllb.RunOption{
			bkllb.AddMount(debs, b.fetched(base, packages), bkllb.Readonly),
			bkllb.Network(bkllb.NetModeNone),
			b.fresh(),
		}
	}
	id := "llorch-apt-" + b.cacheScope(base)
	if b.arch != "" {
		id += "-" + b.arch
	}
	return []bkllb.RunOption{
		b.aptFor(),
		b.caSecret(),
		// apt locks its folders, so two builds must take turns.
		bkllb.AddMount("/var/cache/apt", bkllb.Scratch(), bkllb.AsPersistentCacheDir(id+"-archives", bkllb.CacheMountLocked)),
		bkllb.AddMount("/var/lib/apt/lists", bkllb.Scratch(), bkllb.AsPersistentCacheDir(id+"-lists", bkllb.CacheMountLocked)),
		b.proxy(),
		b.fresh(),
	}
}
