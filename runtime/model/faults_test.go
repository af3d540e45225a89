package model

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// What to do follows from how a conversation broke.
func TestNetworkAdvice(t *testing.T) {
	t.Parallel()
	for advice, err := range map[string]error{
		"check the name hub.example":       &net.DNSError{Name: "hub.example", IsNotFound: true},
		"check that a server listens at h": &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		"check the network":                errors.New("broken pipe"),
	} {
		if got := networkAdvice(&transfer.NetworkError{Host: "h", Err: err}); !strings.Contains(got, advice) {
			t.Errorf("%v: %q", err, got)
		}
	}
	r := newRig(t)
	r.Environment.Endpoint = "http://127.0.0.1:1"
	_, err := r.fetch(t, aRef)
	wantFault(t, err, fault.Model, "refused", "listens at 127.0.0.1:1")
}

// A path that does not exist may be a model of the Hub, whose ref is written differently.
func TestPathAdvice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for path, advice := range map[string]string{"no-org/no-repo": "hf:no-org/no-repo", "no-org/no-repo/m.gguf": "hf:no-org/no-repo/m.gguf", "no-folder/m.gguf": "hf:ORG/REPO/FILE.gguf"} {
		_, err := r.fetch(t, path)
		wantFault(t, err, fault.Model, "no such file", advice)
	}
}
