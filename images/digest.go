package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The labels that this program adds to an image, besides those of OCI's image spec.
const (
	LabelRecipe  = "dev.llorch.recipe"
	LabelFit     = "dev.llorch.fit"
	LabelCommit  = "dev.llorch.commit"
	LabelRef     = "dev.llorch.ref"
	LabelVariant = "dev.llorch.variant"
	LabelCPU     = "dev.llorch.cpu"
	LabelCUDA    = "dev.llorch.cuda"
	// LabelCUDAArchs is the value of CMAKE_CUDA_ARCHITECTURES, separated by semicolons.
	LabelCUDAArchs = "dev.llorch.cuda.architectures"
	// LabelDevice is the prefix of ggml's names for the GPUs that the image uses.
	LabelDevice = "dev.llorch.device"
	// LabelUI says whether the image has the web UI: UIBuilt, UIInside or UINotWanted.
	LabelUI = "dev.llorch.ui"
	// LabelBackends and LabelPrograms are the ggml backends and llama.cpp programs in the
	// image. LabelLayout says into how many steps its tree was split.
	LabelBackends = "dev.llorch.backends"
	LabelPrograms = "dev.llorch.programs"
	LabelLayout   = "dev.llorch.layout"
	// LabelProbe is the path of the static health probe in the image.
	LabelProbe = "dev.llorch.probe"
)

// The values of LabelUI.
const (
	// UIBuilt: the image has the web UI.
	UIBuilt = "built"
	// UIInside: the tree has a prebuilt web UI, and its server always includes it.
	UIInside = "in-source"
	// UINotWanted: the request excluded it, or the tree has none.
	UINotWanted = "none"
)

// recipeVersion is part of every digest. Raising it marks a change in how plans are built
// (scripts, order of layers) as another recipe.
const recipeVersion = 1

// setDigests computes the plan's digests.
func (p *Plan) setDigests(r Request) error {
	var err error
	// Two dirty trees of one commit can differ: only the digest of their content identifies them.
	unknown := p.Source.Dirty && p.Source.Content == ""
	if len(p.Pending) == 0 && !unknown {
		content := *p
		// Names and labels do not change the image's content.
		content.Image = ImageConfig{User: p.Image.User, Entrypoint: p.Image.Entrypoint, Env: p.Image.Env, Port: p.Image.Port, Health: p.Image.Health}
		content.Source.Ref, content.Source.Location, content.Source.Version, content.Source.Kind = "", "", "", ""
		// Neither do explanations for people.
		content.CPU.RunsOn, content.UIWhy, content.Source.LayoutWhy, content.Notes = "", "", "", nil
		if p.CUDA != nil {
			content.CUDA = &PlanCUDA{Version: p.CUDA.Version, Archs: p.CUDA.Archs}
		}
		if p.Recipe, err = digestOf(content); err != nil {
			return err
		}
	}
	if p.Source.Commit == "" || unknown {
		return nil
	}
	members, err := findVariants(r.Variant)
	if err != nil {
		return err
	}
	// Any toolkit of the requested family does the same job, if it was compiled for the
	// same GPUs.
	var ours []any
	for _, v := range members {
		ours = append(ours, decisions(v, r.Arch()))
	}
	archs := r.CUDAArch
	if slices.Equal(archs, []string{CUDAAuto}) && p.CUDA != nil {
		archs = p.CUDA.Archs
	}
	buildRef, runtimeRef := BaseRefs(r, members[0])
	p.Fit, err = digestOf(struct {
		Commit, Content, Variant, Platform, Build, Runtime, Accelerator string
		CUDA                                                            []string
		Flags                                                           []string
		Scripts                                                         string
		Ours                                                            any
		NoUI                                                            bool
		Programs                                                        []string
	}{p.Source.Commit, p.Source.Content, r.Variant, p.Platform, buildRef, runtimeRef, r.AcceleratorBase, archs, r.CMakeFlags, p.Scripts, ours, r.NoUI, r.Programs})
	return err
}

// decisions are this program's own decisions about how a variant is compiled, for any
// tree. They are part of the fit digest, so that an image of another version of this
// program, which decided differently, does not count as a match.
func decisions(v Variant, arch string) any {
	backends := v.backends()
	cpu := map[string][]string{CPUBackend.Name: {allVariants}}
	return []any{baseFlags(Plan{}), compileRules(arch, nil), v.Accelerator, v.Libraries, v.Env, rootPackages, rootFiles, v.RuntimePackages, v.UIPackages, makeParts(LayoutParts, backends, cpu, nil, "", nil), makeParts(LayoutGGML, backends, cpu, nil, "", nil)}
}

// digestOf hashes the JSON of v, in which struct fields keep their order and map keys
// are sorted.
func digestOf(v any) (string, error) {
	b, err := json.Marshal(struct {
		Recipe int
		Value  any
	}{recipeVersion, v})
	if err != nil {
		return "", fmt.Errorf("digest of a plan: %w", err)
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// labels describe the image; names from OCI's image spec come first.
func labels(p Plan, v Variant) map[string]string {
	l := map[string]string{
		"org.opencontainers.image.title":       "llama.cpp server",
		"org.opencontainers.image.description": "llama-server, " + v.About,
		"org.opencontainers.image.licenses":    "MIT",
		"org.opencontainers.image.revision":    p.Source.Commit,
		"org.opencontainers.image.version":     p.Source.Version,
		"org.opencontainers.image.base.name":   p.Runtime.Base.Ref,
		"org.opencontainers.image.base.digest": p.Runtime.Base.Digest,
		LabelRecipe:                            p.Recipe,
		LabelFit:                               p.Fit,
		LabelCommit:                            p.Source.Commit,
		LabelRef:                               p.Source.Ref,
		LabelVariant:                           p.Variant,
		LabelCPU:                               p.CPU.Level,
		LabelProbe:                             Probe,
	}
	l[LabelUI] = UINotWanted
	switch {
	case p.UI != nil:
		l[LabelUI] = UIBuilt
	case p.Source.uiInside:
		l[LabelUI] = UIInside
	}
	l[LabelLayout] = string(p.Source.Layout)
	var backends []string
	for _, b := range v.backends() {
		backends = append(backends, strings.TrimPrefix(b.Name, "ggml-"))
	}
	l[LabelBackends] = strings.Join(backends, " ")
	if len(p.Parts) > 0 {
		l[LabelPrograms] = strings.Join(p.Parts[len(p.Parts)-1].Programs, " ")
	}
	if p.Source.Created != "" {
		l["org.opencontainers.image.created"] = p.Source.Created
	}
	// A path on the build machine means nothing to others.
	if p.Source.Kind == SourceGit {
		l["org.opencontainers.image.source"] = p.Source.Location
	}
	if p.Source.Dirty {
		l[LabelCommit] += "-dirty"
		l["org.opencontainers.image.revision"] += "-dirty"
	}
	if p.CUDA != nil {
		l[LabelCUDA], l[LabelCUDAArchs] = p.CUDA.Version, strings.Join(p.CUDA.Archs, ";")
	}
	if p.Accelerator != nil {
		l[LabelDevice] = p.Accelerator.Device
	}
	for _, k := range slices.Collect(maps.Keys(l)) {
		if l[k] == "" {
			delete(l, k)
		}
	}
	return l
}
