package images

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/distribution/reference"
)

// WriteText prints a plan for a person, pending facts last.
func (p Plan) WriteText(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("source", "%s", p.Source.Location)
	if p.Source.Ref != "" {
		row("ref", "%s", p.Source.Ref)
	}
	row("commit", "%s", orPending(p.Source.Commit))
	if p.Source.Dirty {
		row("", "with uncommitted changes")
	}
	if p.Source.Version != "" {
		row("version", "%s", p.Source.Version)
	}
	row("variant", "%s", p.Variant)
	row("platform", "%s", p.Platform)
	if p.Cross != nil {
		row("", "cross-compiled on %s", p.Cross.Builder)
	}
	row("cpu", "%s", orPending(p.CPU.Level))
	if p.CPU.RunsOn != "" {
		row("", "%s", p.CPU.RunsOn)
	}
	if p.CUDA != nil {
		row("cuda", "%s for %s", p.CUDA.Version, strings.Join(p.CUDA.Archs, " "))
		for _, note := range p.CUDA.Notes {
			row("", "%s", note)
		}
	}
	row("compiled on", "%s", p.Build.pinned())
	if p.Runtime.Made() {
		row("runs on", "files of %s", names(slices.Concat(p.Runtime.Packages, p.Runtime.Files)))
	} else {
		row("runs on", "%s", p.Runtime.Base.pinned())
	}
	row("packages", "%s", names(p.Packages))
	if a := p.Accelerator; a != nil {
		row(a.Part, "compiled on %s", a.Base.pinned())
		row("", "packages %s", names(a.Packages))
		if len(a.Libraries) > 0 {
			row("", "with %s", strings.Join(a.Libraries, " "))
		}
	}
	if !p.Runtime.Made() && len(p.Runtime.Packages) > 0 {
		row("image has", "%s", names(p.Runtime.Packages))
	}
	for i, f := range p.CMake.Flags {
		if i == 0 {
			row("cmake", "%s", f)
			continue
		}
		row("", "%s", f)
	}
	for i, r := range p.CMake.Rules {
		name := ""
		if i == 0 {
			name = "compilers"
		}
		row(name, "%s", r.text())
	}
	for i, part := range p.Parts {
		name := ""
		if i == 0 {
			name = "steps"
		}
		row(name, "%s", part.text())
	}
	if p.Source.LayoutWhy != "" {
		row("", "not split further: %s", p.Source.LayoutWhy)
	}
	switch {
	case p.UI != nil:
		row("web UI", "built from its own lock file")
	case p.Source.uiInside:
		row("web UI", "prebuilt in the source; its server always includes it")
	case p.UIWhy != "":
		row("web UI", "none: %s", p.UIWhy)
	}
	for i, t := range p.Image.Tags {
		if i == 0 {
			row("image", "%s", shortRef(t))
			continue
		}
		row("", "%s", shortRef(t))
	}
	if last := p.Parts; len(last) > 0 && len(last[len(last)-1].Programs) > 1 {
		row("programs", "%s", strings.Join(last[len(last)-1].Programs, " "))
	}
	for _, note := range p.Notes {
		row("note", "%s", note)
	}
	if p.Recipe != "" {
		row("recipe", "%s", p.Recipe)
	}
	if len(p.Pending) > 0 {
		row("to look up", "%s", strings.Join(p.Pending, ", "))
	}
	return tw.Flush()
}

// text describes a rule in one line.
func (r CompileRule) text() string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s %s", r.Sources, cmp.Or(r.Compiler, "CMake's default"), r.Flags))
}

// text describes a part in one line: its name and its flags.
func (p Part) text() string {
	return strings.Join(append([]string{p.Name}, p.Flags...), " ")
}

func names(all []Package) string {
	out := make([]string, len(all))
	for i, p := range all {
		out[i] = p.Name
	}
	return strings.Join(out, " ")
}

func orPending(s string) string {
	if s == "" {
		return "(to be looked up)"
	}
	return s
}

func (b BaseFacts) pinned() string {
	switch {
	case b.Digest != "":
		// A base that the user named by digest already has the digest in its name.
		name, _, _ := strings.Cut(shortRef(b.Ref), "@")
		return name + "@" + b.Digest
	case b.Ref != "":
		return shortRef(b.Ref)
	}
	return orPending("")
}

// shortRef shortens a normalised reference to the form that people type.
func shortRef(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(named)
}
