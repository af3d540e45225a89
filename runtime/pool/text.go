package pool

import (
	"encoding/json"
	"strings"
)

// String prints the plan: one line for each operation with its cause, and below it the
// reactions to a failure.
func (p Plan) String() string {
	var b strings.Builder
	b.WriteString(p.Title + "\n")
	switch {
	case p.Refused != nil:
		b.WriteString("  refused: " + indent(p.Refused.Error(), "    ") + "\n")
	case len(p.Ops) == 0:
		b.WriteString("  nothing to do\n")
	}
	printOps(&b, p.Ops, "  ")
	for _, n := range p.Notes {
		b.WriteString("  note: " + n + "\n")
	}
	return b.String()
}

func printOps(b *strings.Builder, ops []Op, in string) {
	for _, op := range ops {
		b.WriteString(in + op.line() + "\n")
		if op.Instead != nil {
			b.WriteString(in + "  if " + op.Instead.When.Error() + ", do this instead of the rest:\n")
			printOps(b, op.Instead.Ops, in+"    ")
		}
		if op.Clean != nil {
			b.WriteString(in + "  if " + op.Clean.When.Error() + ":\n")
			printOps(b, op.Clean.Ops, in+"    ")
		}
		if len(op.Undo) > 0 {
			b.WriteString(in + "  if a later step fails:\n")
			printOps(b, op.Undo, in+"    ")
		}
	}
}

func (op Op) line() string {
	text := string(op.Do)
	if op.On != "" {
		text += " " + op.On
	}
	if op.Why != "" {
		text += ": " + op.Why
	}
	return text
}

func indent(text, in string) string { return strings.ReplaceAll(text, "\n", "\n"+in) }

// MarshalJSON adds the reason of a refused plan.
func (p Plan) MarshalJSON() ([]byte, error) {
	type plain Plan
	out := struct {
		plain
		Refused string `json:"refused,omitempty"`
	}{plain: plain(p)}
	if out.Ops == nil {
		out.Ops = []Op{}
	}
	if p.Refused != nil {
		out.Refused = p.Refused.Error()
	}
	return json.Marshal(out)
}
