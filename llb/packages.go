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

// PackagesFile is the file in a state of ResolvePackages, with one line per package.
const PackagesFile = "packages"

// The names of the sets in PackagesFile.
const (
	setToolchain   = "toolchain"
	setAccelerator = "accelerator"
	setUI          = "ui"
	setRuntime     = "runtime"
)

// ResolvePackages are states that list which packages the distributions of a plan's bases
// offer now, one state per base. now is part of their keys: another value asks again.
func ResolvePackages(p images.Plan, caps Capabilities, opt Options, now string) ([]bkllb.State, error) {
	b, err := newBuilder(p, caps, opt)
	if err != nil {
		return nil, err
	}
	sets := map[string][]string{} // by base; root is for the image's own architecture
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

// ParsePackages adds the packages in the PackagesFile of a state to sets, sorted by name
// and without duplicates, and returns the distribution's name.
func ParsePackages(data []byte, into *images.PackageSets) (distribution string, err error) {
	to := map[string]*[]images.Package{setToolchain: &into.Toolchain, setAccelerator: &into.Accelerator, setUI: &into.UI, setRuntime: &into.Runtime}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == "#" {
			distribution = f[1]
			continue
		}
		if len(f) != 7 || to[f[0]] == nil {
			return "", fmt.Errorf("invalid line in the list of packages: %q", strings.TrimSpace(line))
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

// fetched is a folder with pinned packages. This machine sends those that it has; a step
// downloads the others.
func (b builder) fetched(base images.BaseFacts, packages []images.Package) bkllb.State {
	name := PackageMount(packages)
	if slices.Contains(b.opt.Sent, name) {
		return b.laid(b.sent(name, name, fmt.Sprintf("[fetch] %d packages of this machine", len(packages))))
	}
	return b.download(base, packages)
}

// laid copies files that were sent into a folder, so that it equals the result of a step.
// To a builder, the root of what it was sent is never equal to a step's folder. Without the
// copy, later steps would run again.
func (b builder) laid(sent bkllb.State) bkllb.State {
	all := &bkllb.CopyInfo{CopyDirContentsOnly: true}
	return bkllb.Scratch().Platform(b.platform).File(bkllb.Copy(sent, "/", "/", all), bkllb.WithCustomName("[fetch] copy the packages into a folder"))
}

// PackageMount is the name under which packages are sent to the builder.
func PackageMount(packages []images.Package) string { return "packages-" + packagesID(packages) }

// packagesID identifies a list of packages.
func packagesID(packages []images.Package) string {
	return digest.FromString(packageList(packages)).Encoded()[:12]
}

// packageList is the input of fetch.sh: sha256, file name, and path in an archive.
func packageList(packages []images.Package) string {
	var list strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&list, "%s %s %s\n", p.SHA256, path.Base(p.Path), p.Path)
	}
	return list.String()
}

// download downloads pinned packages. It needs a network; installing them does not.
func (b builder) download(base images.BaseFacts, packages []images.Package) bkllb.State {
	run := b.base(base).Run(
		bkllb.Args([]string{"sh", "/llorch/fetch.sh"}),
		b.scripts(script{"fetch.sh", fetchScript}, script{"apt.sh", aptScript}, script{"packages", packageList(packages)}),
		// A package's hash is the same wherever it comes from.
		bkllb.AddSecret("/run/llorch/snapshots", bkllb.SecretID(SnapshotsSecret), bkllb.SecretOptional),
		b.caSecret(),
		b.proxy(),
		b.named(StepToolchain, "", fmt.Sprintf("[fetch] %d packages by hash (%s)", len(packages), packagesID(packages))),
	)
	return run.AddMount("/out", bkllb.Scratch().Platform(b.platform))
}

// debs is the folder in which a step finds downloaded packages.
const debs = "/debs"

// packagesFor are the options of a step that installs packages. Pinned packages are
// mounted and the step has no network. Otherwise apt downloads the newest ones.
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
		// apt locks its folders, so concurrent builds take turns.
		bkllb.AddMount("/var/cache/apt", bkllb.Scratch(), bkllb.AsPersistentCacheDir(id+"-archives", bkllb.CacheMountLocked)),
		bkllb.AddMount("/var/lib/apt/lists", bkllb.Scratch(), bkllb.AsPersistentCacheDir(id+"-lists", bkllb.CacheMountLocked)),
		b.proxy(),
		b.fresh(),
	}
}
