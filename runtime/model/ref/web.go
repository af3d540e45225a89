package ref

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

func parseHTTP(s string) (Ref, error) {
	u, err := url.Parse(s)
	// url.Parse repeats the whole URL in its error, so that error is dropped.
	if err != nil || u.Hostname() == "" {
		return Ref{}, usage("a model URL cannot be read", nil)
	}
	if u.User != nil {
		return Ref{}, fault.New(fault.Usage, "a model URL carries a user name or password", nil,
			"take it out: URLs end up in logs and in the handoff; download the file yourself and name its path, or use a signed URL")
	}
	if r, ok, err := parseSiteURL(u); ok && u.Fragment == "" {
		return r, err
	}
	if u.Fragment != "" {
		return Ref{}, usage(fmt.Sprintf("model URL %s", public(u)), fmt.Errorf("the only fragment that a ref takes is #sha256=HEX"))
	}
	u.Host = strings.ToLower(u.Host)
	return Ref{Raw: public(u), Kind: HTTP, URL: u.String()}, nil
}

// public is a URL that may be shown: without user, query and fragment.
func public(u *url.URL) string {
	c := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return c.String()
}

// PublicURL is a URL as Raw keeps it. Any other word is returned unchanged.
func PublicURL(word string) string {
	if u, err := url.Parse(word); err == nil && u.Host != "" {
		return public(u)
	}
	return word
}
