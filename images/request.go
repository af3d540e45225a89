package images

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/llorch/llorch-bk/images/fault"
)

// DefaultRepository is llama.cpp's own repository.
const DefaultRepository = "https://github.com/ggml-org/llama.cpp"

// DefaultRef is the release that is built if the user names no ref. It is fixed, so that
// the same command builds the same release next month.
const DefaultRef = "v0.5.0"

// SourceKind says how a source tree reaches the builder.
type SourceKind string

// The kinds of source.
const (
	// SourceGit is a remote repository that the builder fetches.
	SourceGit SourceKind = "git"
	// SourceDir is the working tree of a local directory, uncommitted changes included.
	SourceDir SourceKind = "dir"
	// SourceCommit is one commit of a local repository or of a git bundle,
	// checked out on this machine and sent to the builder.
	SourceCommit SourceKind = "commit"
)

// Request is what the user asked for, before any fact is looked up.
type Request struct {
	// Source is a repository URL, a directory or a git bundle file.
	Source string `json:"source"`
	// Ref is a branch, tag or commit of Source; empty means DefaultRef for
	// DefaultRepository, the working tree for a directory and HEAD otherwise.
	Ref string `json:"ref,omitempty"`
	// Variant names an entry of the catalogue.
	Variant string `json:"variant"`
	// Platform is the image's OS and architecture, such as linux/amd64.
	Platform string `json:"platform"`
	// Base replaces the catalogue's base image. AcceleratorBase replaces the one that the
	// GPU backend is compiled on.
	Base string `json:"base,omitempty"`
	// RuntimeBase is the image that the server runs on; empty for a root made from packages.
	RuntimeBase     string `json:"runtime_base,omitempty"`
	AcceleratorBase string `json:"accelerator_base,omitempty"`
	// CPU is CPUPortable, CPUNative or the name of a level.
	CPU string `json:"cpu"`
	// CUDAArch is a list of CUDA architectures (86 or 8.6), or CUDAAll, or CUDAAuto.
	CUDAArch []string `json:"cuda_arch,omitempty"`
	// CMakeFlags are the user's own, each as -DNAME=VALUE. They override ours.
	CMakeFlags []string `json:"cmake_flags,omitempty"`
	// NoUI leaves the server's web UI out.
	NoUI bool `json:"no_ui,omitempty"`
	// Programs are llama.cpp programs to build in addition to the server, or only
	// AllPrograms.
	Programs []string `json:"programs,omitempty"`
	// Tags name the image; none means a name made from commit, variant and level.
	Tags []string `json:"tags,omitempty"`
}

var (
	cmakeFlag = regexp.MustCompile(`(?s)^-D([A-Za-z_][A-Za-z0-9_]*)(?::[A-Z]+)?=(.*)$`)
	cudaArch  = regexp.MustCompile(`^([0-9]{1,2})\.?([0-9])([af]?)$`)
)

// Normalise checks r against the catalogue and returns it in canonical form: sorted, without
// duplicates, old flag names replaced. It reports all errors at once, as a fault.Usage.
func (r Request) Normalise() (Request, error) {
	var wrong []error
	members, err := findVariants(r.Variant)
	if err != nil {
		wrong = append(wrong, err)
	}
	accelerated := len(members) > 0 && members[0].Accelerator != nil
	cuda := accelerated && members[0].Accelerator.CUDA != nil
	if !slices.Contains(Platforms, r.Platform) {
		wrong = append(wrong, fmt.Errorf("platform must be one of %s, got %q", strings.Join(Platforms, ", "), r.Platform))
	} else if r.CPU != CPUPortable && r.CPU != CPUNative {
		if _, err := FindLevel(r.Arch(), r.CPU); err != nil {
			wrong = append(wrong, err)
		}
	}
	flags, err := normaliseFlags(r.CMakeFlags)
	if err != nil {
		wrong = append(wrong, err)
	}
	r.CMakeFlags = flags
	if archs, err := normaliseArchs(r.CUDAArch); err != nil {
		wrong = append(wrong, err)
	} else {
		r.CUDAArch = archs
	}
	if len(r.CUDAArch) > 0 && !cuda && len(members) > 0 {
		wrong = append(wrong, fmt.Errorf("`cuda-arch` needs a CUDA variant, got %q", r.Variant))
	}
	for _, f := range flags {
		if name, value, _ := strings.Cut(strings.TrimPrefix(f, "-D"), "="); name == "GGML_CUDA" && !cuda && !isOff(value) {
			wrong = append(wrong, errors.New("-DGGML_CUDA needs the CUDA toolchain: use `cuda`"))
		} else if name == "GGML_VULKAN" && !isOff(value) && (len(members) == 0 || members[0].Accelerator == nil || members[0].Accelerator.Flag != name) {
			wrong = append(wrong, errors.New("-DGGML_VULKAN needs the Vulkan toolchain: use `variant=vulkan`"))
		}
	}
	if programs, err := normalisePrograms(r.Programs); err != nil {
		wrong = append(wrong, err)
	} else {
		r.Programs = programs
	}
	tags := make([]string, 0, len(r.Tags))
	for _, t := range r.Tags {
		named, err := reference.ParseNormalizedNamed(t)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("tag %q: %w", t, err))
			continue
		}
		if _, ok := named.(reference.Digested); ok {
			wrong = append(wrong, fmt.Errorf("tag %q must not have a digest", t))
			continue
		}
		tags = append(tags, reference.TagNameOnly(named).String())
	}
	r.Tags = slices.Compact(slices.Sorted(slices.Values(tags)))
	if r.AcceleratorBase != "" && !accelerated && len(members) > 0 {
		wrong = append(wrong, fmt.Errorf("`base` with gpu= needs a variant with a GPU backend, got %q", r.Variant))
	}
	for _, base := range []*string{&r.Base, &r.RuntimeBase, &r.AcceleratorBase} {
		if *base == "" {
			continue
		}
		named, err := reference.ParseNormalizedNamed(*base)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("base %q: %w", *base, err))
			continue
		}
		*base = reference.TagNameOnly(named).String()
	}
	if len(wrong) > 0 {
		return r, fault.New(fault.Usage, "cannot build this request", errors.Join(wrong...), "see llorch-bk help build")
	}
	return r, nil
}

// Arch is the platform's architecture, in Go's spelling.
func (r Request) Arch() string {
	_, arch, _ := strings.Cut(r.Platform, "/")
	return arch
}

// SortPlatforms sorts platforms in the catalogue's order and removes duplicates. An index
// has its images in this order, whatever the order of the request.
func SortPlatforms(names []string) []string {
	out := slices.Clone(names)
	slices.SortStableFunc(out, func(x, y string) int { return cmp.Compare(platformOrder(x), platformOrder(y)) })
	return slices.Compact(out)
}

// platformOrder sorts unknown platforms last.
func platformOrder(name string) int {
	if i := slices.Index(Platforms, name); i >= 0 {
		return i
	}
	return len(Platforms)
}

// normaliseFlags checks, renames and sorts CMake definitions. The last definition of a
// name applies, as in CMake.
func normaliseFlags(flags []string) ([]string, error) {
	var wrong []error
	byName := map[string]string{}
	for _, f := range flags {
		m := cmakeFlag.FindStringSubmatch(f)
		if m == nil {
			wrong = append(wrong, fmt.Errorf("CMake flag must have the form -DNAME=VALUE, got %q", f))
			continue
		}
		if strings.ContainsAny(m[2], "\n\x00") {
			wrong = append(wrong, fmt.Errorf("CMake flag %q: the value must not have line breaks", f))
			continue
		}
		name := m[1]
		// llama.cpp stops with an error at these names, which its older guides use.
		if name == "LLAMA_CUBLAS" || name == "LLAMA_CUDA" {
			name = "GGML_CUDA"
		}
		if why := whyRefused(name, m[2]); why != "" {
			wrong = append(wrong, errors.New(why))
			continue
		}
		byName[name] = m[2]
	}
	out := make([]string, 0, len(byName))
	for name, value := range byName {
		out = append(out, "-D"+name+"="+value)
	}
	slices.Sort(out)
	return out, errors.Join(wrong...)
}

// AllPrograms selects every program that a tree's CMake files build by default.
const AllPrograms = "all"

var programName = regexp.MustCompile(`^llama(-[a-z0-9]+)*$`)

// normalisePrograms sorts names and removes duplicates. It removes the server, which every
// image has.
func normalisePrograms(programs []string) ([]string, error) {
	if slices.Contains(programs, AllPrograms) {
		if len(programs) > 1 {
			return nil, fmt.Errorf("programs: %q already selects every program, so it must be the only one", AllPrograms)
		}
		return programs, nil
	}
	var wrong []error
	var out []string
	for _, p := range programs {
		switch {
		case !programName.MatchString(p):
			wrong = append(wrong, fmt.Errorf("program must be a name of llama.cpp's (llama-cli, llama-bench, llama) or %q, got %q", AllPrograms, p))
		case p != target:
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), errors.Join(wrong...)
}

// isOff reports whether CMake takes a value as false.
func isOff(v string) bool {
	switch strings.ToUpper(v) {
	case "", "0", "OFF", "NO", "FALSE", "N", "IGNORE", "NOTFOUND":
		return true
	}
	return strings.HasSuffix(strings.ToUpper(v), "-NOTFOUND")
}

// normaliseArchs turns 8.6 and 86 into 86, sorts by number, and removes duplicates.
func normaliseArchs(archs []string) ([]string, error) {
	if len(archs) == 1 && (archs[0] == CUDAAll || archs[0] == CUDAAuto) {
		return archs, nil
	}
	var wrong []error
	out := make([]string, 0, len(archs))
	for _, a := range archs {
		m := cudaArch.FindStringSubmatch(a)
		if m == nil {
			wrong = append(wrong, fmt.Errorf("CUDA architecture must have the form 86 or 8.6, or be %s or %s alone; got %q", CUDAAll, CUDAAuto, a))
			continue
		}
		out = append(out, m[1]+m[2]+m[3])
	}
	slices.SortFunc(out, compareArchs)
	return slices.Compact(out), errors.Join(wrong...)
}
