package engine

import (
	"regexp"
	"slices"
	"strings"
)

// Option is a flag of a server, as the server's own help has it.
type Option struct {
	// Names are its spellings, with their dashes.
	Names []string
	// Value says what its value is, as in "FNAME:SCALE,..."; empty for a flag without.
	Value string
	// Text is what the help says of it, in one line.
	Text string
}

// Options are all flags of a server.
type Options []Option

// optionLine is the first line of an option in the help of llama.cpp (to_string in
// common/arg.cpp): names with commas between them, the value after one space, the text
// after several.
var optionLine = regexp.MustCompile(`^(-{1,2}[A-Za-z][^\s,]*(?:,\s+-{1,2}[A-Za-z][^\s,]*)*)(?: (\S+(?: \S+)*))?(?:\s{2,}(\S.*))?$`)

// ParseHelp reads the help that a server prints.
func ParseHelp(lines []string) Options {
	var out Options
	for _, line := range lines {
		m := optionLine.FindStringSubmatch(strings.TrimRight(line, " "))
		switch {
		case m != nil:
			o := Option{Value: m[2], Text: m[3]}
			for name := range strings.SplitSeq(m[1], ",") {
				o.Names = append(o.Names, strings.TrimSpace(name))
			}
			out = append(out, o)
		case len(out) > 0 && strings.HasPrefix(line, "    "):
			last := &out[len(out)-1]
			last.Text = strings.TrimSpace(last.Text + " " + strings.TrimSpace(line))
		}
	}
	return out
}

// find is the option with the first of names that there is one of.
func (o Options) find(names ...string) (Option, string, bool) {
	for _, name := range names {
		for _, option := range o {
			if slices.Contains(option.Names, name) {
				return option, name, true
			}
		}
	}
	return Option{}, "", false
}

// called is the longest name of the option whose text begins with these words.
func (o Options) called(words string) (string, bool) {
	for _, option := range o {
		if strings.HasPrefix(option.Text, words) && option.Value != "" {
			return slices.MaxFunc(option.Names, func(a, b string) int { return len(a) - len(b) }), true
		}
	}
	return "", false
}
