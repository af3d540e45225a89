package buildkit

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Only a registry that there is no way to has not been reached.
func TestReach(t *testing.T) {
	t.Parallel()
	// Nothing listens at a port that was just given back.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	for name, c := range map[string]struct {
		serve     http.HandlerFunc
		host      string
		unreached bool
	}{
		"nobody listens":     {host: nobody, unreached: true},
		"no such name":       {host: "registry.invalid", unreached: true},
		"not allowed":        {serve: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }},
		"too many requests":  {serve: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }},
		"a server's trouble": {serve: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := c.host
			if c.serve != nil {
				// Its certificate is nobody's: it answers all the same.
				s := httptest.NewTLSServer(c.serve)
				t.Cleanup(s.Close)
				host = strings.TrimPrefix(s.URL, "https://")
			}
			err := Reach(t.Context(), host+"/x/y:1")
			var u *Unreached
			if errors.As(err, &u) != c.unreached || !c.unreached && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}
