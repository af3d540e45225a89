package fault

import "strings"

// maxPrintable is the number of characters that Printable keeps.
const maxPrintable = 200

// Printable makes text from outside (a server's answer, a file's header) fit for one
// line of an error or terminal: no control characters, at most 200 characters.
func Printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > maxPrintable {
		s = string(r[:maxPrintable]) + "…"
	}
	return s
}
