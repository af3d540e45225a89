package transfer

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// rangeLength compares a 206's Content-Range with what was asked for, and returns the
// number of bytes that it announces. A server may send less than it was asked for.
func rangeLength(field string, first, last, size int64) (int64, error) {
	r, ok := parseContentRange(field)
	if !ok {
		return 0, fmt.Errorf("%w: Content-Range %q cannot be read", ErrBadRange, fault.Printable(field))
	}
	if r.total >= 0 && size >= 0 && r.total != size {
		return 0, fmt.Errorf("%w: it has %d bytes, not %d", ErrChanged, r.total, size)
	}
	if r.first != first || r.last > last {
		return 0, fmt.Errorf("%w: %d-%d instead of %d-%d", ErrBadRange, r.first, r.last, first, last)
	}
	return r.last - r.first + 1, nil
}

type contentRange struct {
	first, last int64
	// total is -1 where the server does not say it.
	total int64
}

// parseContentRange reads "bytes 0-99/1234" or "bytes 0-99/*" (RFC 9110, 14.4).
func parseContentRange(s string) (contentRange, bool) {
	unit, rest, ok := strings.Cut(strings.TrimSpace(s), " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return contentRange{}, false
	}
	span, size, ok1 := strings.Cut(strings.TrimSpace(rest), "/")
	a, b, ok2 := strings.Cut(span, "-")
	if !ok1 || !ok2 {
		return contentRange{}, false
	}
	r := contentRange{total: -1}
	var okA, okB bool
	r.first, okA = ParseSize(a)
	r.last, okB = ParseSize(b)
	if !okA || !okB || r.first > r.last {
		return contentRange{}, false
	}
	if size != "*" {
		var okT bool
		if r.total, okT = ParseSize(size); !okT || r.last >= r.total {
			return contentRange{}, false
		}
	}
	return r, true
}

// unsatisfiedTotal reads the size out of a 416's "bytes */1234".
func unsatisfiedTotal(s string) (int64, bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(s)), "bytes */")
	if !ok {
		return 0, false
	}
	return ParseSize(rest)
}

// ParseSize reads a number as HTTP writes one: without sign and space.
func ParseSize(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil && !strings.HasPrefix(s, "+") //nolint:gosec // 63 bits
}
