package images

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteDot prints a plan's steps as a graph in the language of Graphviz: the order of
// the steps, and what the image contains.
func (p Plan) WriteDot(w io.Writer) error {
	var b strings.Builder
	node := func(id, label string) { fmt.Fprintf(&b, "  %q [label=%q];\n", id, label) }
	edge := func(from, to string) { fmt.Fprintf(&b, "  %q -> %q;\n", from, to) }
	b.WriteString("digraph plan {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n")
	node("source", orPending(p.Source.Short))
	node("build base", p.Build.pinned())
	node("toolchain", "toolchain")
	node("files", "files by step")
	node("probe", "health probe")
	root := "runtime base"
	if p.Runtime.Made() {
		root = "runtime root"
		node(root, names(slices.Concat(p.Runtime.Packages, p.Runtime.Files)))
		edge("build base", root)
	} else {
		node(root, p.Runtime.Base.pinned())
	}
	node("image", strings.Join(shortRefs(p.Image.Tags), "\n"))
	edge("build base", "toolchain")
	if a := p.Accelerator; a != nil {
		base := "build base"
		if a.Base.Ref != p.Build.Ref {
			base = "GPU base"
			node(base, a.Base.pinned())
		}
		node("GPU toolchain", "toolchain of "+a.Part)
		edge(base, "GPU toolchain")
		if len(a.Libraries) > 0 {
			node("libraries", strings.Join(a.Libraries, "\n"))
			edge("GPU toolchain", "libraries")
			edge("libraries", "image")
		}
	}
	edge("source", "files")
	edge("toolchain", "probe")
	edge(root, "image")
	edge("files", "image")
	edge("probe", "image")
	for _, part := range p.Parts {
		from := "files"
		if len(part.Files) == 0 {
			from = "source"
		}
		id := "compile " + part.Name
		node(id, part.Name)
		if part.Accelerated {
			edge("GPU toolchain", id)
		} else {
			edge("toolchain", id)
		}
		edge(from, id)
		for _, need := range part.Needs {
			edge("compile "+need, id)
		}
		edge(id, "image")
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func shortRefs(refs []string) []string {
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = shortRef(r)
	}
	return out
}
