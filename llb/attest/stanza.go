package attest

import (
	"fmt"
	"strings"
)

// stanza is a paragraph of a Debian control file: field names in lower case, and values. A
// value's first line follows the colon. Later lines have lost one leading space, and " ."
// has become an empty line.
type stanza map[string]string

// parseStanzas reads a Debian control file (deb822(5)). A line that is neither a field nor
// a continuation of one is an error.
func parseStanzas(b []byte) ([]stanza, error) {
	var out []stanza
	var now stanza
	field := ""
	text := strings.ReplaceAll(strings.ToValidUTF8(string(b), "�"), "\r\n", "\n")
	for i, line := range strings.Split(text, "\n") {
		switch {
		// Comments are not allowed in copyright files, but some have them.
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			now, field = nil, ""
		case line[0] == ' ' || line[0] == '\t':
			if field == "" {
				return nil, fmt.Errorf("line %d does not continue a field: %q", i+1, line)
			}
			rest := strings.TrimRight(line[1:], " \t")
			if rest == "." {
				rest = ""
			}
			now[field] += "\n" + rest
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok || name == "" || strings.ContainsAny(name, " \t") {
				return nil, fmt.Errorf("line %d is not a field: %q", i+1, line)
			}
			if now == nil {
				now = stanza{}
				out = append(out, now)
			}
			field = strings.ToLower(name)
			now[field] = strings.TrimSpace(value)
		}
	}
	return out, nil
}

// first returns a field's first line and the lines after it.
func (s stanza) first(field string) (first, rest string) {
	first, rest, _ = strings.Cut(s[field], "\n")
	return first, rest
}
