package ref

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// parseFile reads a path.
func parseFile(p string) (Ref, error) {
	if p == "" {
		return Ref{}, usage("a file: ref names no file", nil)
	}
	return Ref{Kind: File, Path: filepath.Clean(p)}, nil
}

// parseFileURL reads what stands behind file: — a path as it is, or //HOST/PATH, in which
// % escapes a character.
func parseFileURL(s string) (Ref, error) {
	rest, isURL := strings.CutPrefix(s, "//")
	if !isURL {
		return parseFile(s)
	}
	bad := func(why error) (Ref, error) { return Ref{}, usage("model ref file:"+s, why) }
	host, abs, found := strings.Cut(rest, "/")
	if !found || (host != "" && !strings.EqualFold(host, "localhost")) {
		return bad(errors.New("it does not name a file on this host: write file:///PATH, or file:PATH for a relative path"))
	}
	p, err := url.PathUnescape("/" + abs)
	if err != nil {
		return bad(fmt.Errorf("%w: a %% that is part of the name is written as %%25", err))
	}
	if strings.ContainsFunc(p, isControl) {
		return bad(errors.New("the path contains control characters"))
	}
	return parseFile(p)
}
