package source

import (
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

// A number of HTTP's is one only where git says so: ports have such numbers, too.
func TestRemoteFault(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]fault.Class{
		"fatal: unable to access 'http://127.0.0.1:40195/x/': Failed to connect to 127.0.0.1 port 40195": fault.Machine,
		"fatal: unable to access 'https://host/x/': The requested URL returned error: 403":               fault.Usage,
		"fatal: unable to access 'https://host/x/': The requested URL returned error: 503":               fault.Machine,
		"remote: Repository not found.": fault.Usage,
	} {
		if got := fault.ClassOf(remoteFault("x", &gitError{verb: "ls-remote", all: said})); got != want {
			t.Errorf("%s: class %d, want %d", said, got, want)
		}
	}
}
