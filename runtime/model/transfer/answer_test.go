package transfer

import (
	"net/http"
	"testing"
	"time"
)

func TestParseContentRange(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]contentRange{
		"bytes 0-99/100": {0, 99, 100}, "bytes 5-9/*": {5, 9, -1}, "Bytes 1-1/2": {1, 1, 2},
	} {
		if got, ok := parseContentRange(s); !ok || got != want {
			t.Errorf("%q: %+v, %t", s, got, ok)
		}
	}
	for _, s := range []string{
		"", "bytes", "bytes */100", "bytes 0-99", "bytes 9-5/100", "bytes 0-100/100", "items 0-9/10",
		"bytes -1-5/10", "bytes +1-5/10", "bytes 0-99999999999999999999/*", "bytes 0-9/10/11", "bytes 0-9/-1",
	} {
		if got, ok := parseContentRange(s); ok {
			t.Errorf("%q was taken as %+v", s, got)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-99/100", "bytes 5-9/*", "bytes */7", "bytes 9223372036854775807-9223372036854775807/*", "bytes 1-0/2"} {
		f.Add(s, int64(0), int64(99), int64(100))
	}
	f.Fuzz(func(t *testing.T, s string, first, last, size int64) {
		n, err := rangeLength(s, first, last, size)
		if err == nil && first >= 0 && (n <= 0 || n > last-first+1) {
			t.Fatalf("%q for %d-%d/%d gives %d bytes", s, first, last, size, n)
		}
		if total, ok := unsatisfiedTotal(s); ok && total < 0 {
			t.Fatalf("%q: size %d", s, total)
		}
	})
}

func TestServerWait(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		field, value string
		want         time.Duration
	}{
		{"RateLimit", `"api";r=0;t=55`, 56 * time.Second},
		{"RateLimit", `"api"; t=3; r=0`, 4 * time.Second},
		{"RateLimit", `"api";r=0`, 0},
		{"RateLimit", `"api";start=9`, 0},
		{"Retry-After", "120", 2 * time.Minute},
		{"Retry-After", "Thu, 01 Jan 2026 12:00:30 GMT", 30 * time.Second},
		{"Retry-After", "Thu, 01 Jan 2026 11:00:00 GMT", 0},
		{"Retry-After", "-5", 0},
		{"Retry-After", "99999999999999999999", 0},
		{"X", "", 0},
	} {
		h := http.Header{}
		h.Set(c.field, c.value)
		if got := serverWait(h, now); got != c.want {
			t.Errorf("%s: %s: %v, want %v", c.field, c.value, got, c.want)
		}
	}
}
