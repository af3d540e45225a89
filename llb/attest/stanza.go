package attest

import (
	"fmt"
	"strings"
)

// stanza is a paragraph of a Debian control file: values by their fields' names in
// lower case. A value's first line is what follows the colon; of the lines after it
// one space is gone, and " ." is an empty line.
type stanza map[string]string

// parseStanzas reads a Debian control file (deb822(5)). What is neither a field nor a
// line that continues one is an error.
func parseStanzas(b []byte) ([]stanza, error) {
	var out []stanza
	var now stanza
	field := ""
	text := strings.ReplaceAll(strings.ToValidUTF8(string(b), "�"), "\r\n", "\n")
	for i, line := range strings.Split(text, "\n") {
		switch {
		// Copyright files must not have comments, and some do.
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			now, field = nil, ""
		case line[0] == ' ' || line[0] == '\t':
			if field == "" {
				return nil, fmt.Errorf("line %d continues no field: %q", i+1, line)
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

// first is a field's first line, and rest the lines after it.
func (s stanza) first(field string) (first, rest string) {
	first, rest, _ = strings.Cut(s[field], "\n")
	return first, rest
}
