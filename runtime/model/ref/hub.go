package ref

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
)

func parseHub(s string) (Ref, error) {
	bad := func(format string, args ...any) (Ref, error) {
		return Ref{}, usage(fmt.Sprintf("model ref hf:%s", s), fmt.Errorf(format, args...))
	}
	if strings.Contains(s, "#") {
		return bad("the only fragment that a ref takes is #sha256=HEX")
	}
	org, rest, _ := strings.Cut(s, "/")
	name, file, hasFile := strings.Cut(rest, "/")
	// The quantisation may stand before the revision or after it. Neither can contain the
	// other's separator.
	name, quant, hasQuant := strings.Cut(name, ":")
	name, rev, hasRev := strings.Cut(name, "@")
	if !hasRev {
		quant, rev, hasRev = strings.Cut(quant, "@")
	}
	if !repoPart.MatchString(org) || !repoPart.MatchString(name) ||
		strings.Contains(org+" "+name, "--") || strings.Contains(org+" "+name, "..") {
		return bad("%q is not a repository of the Hub (ORG/REPO)", strings.TrimSuffix(org+"/"+name, "/"))
	}
	if hasRev {
		// A slash inside a revision (refs/pr/1) is written as %2F: the path begins at the next slash.
		un, err := url.PathUnescape(rev)
		if err != nil || !CleanRelative(un) || strings.HasSuffix(un, ".lock") {
			return bad("%q is not a revision", rev)
		}
		rev = un
	} else {
		rev = DefaultRevision
	}
	switch {
	case hasQuant && !quantWord.MatchString(quant):
		return bad("%q is not a quantisation", quant)
	case hasQuant && hasFile:
		return bad("it names both a quantisation and a file")
	case hasFile && !CleanRelative(file):
		return bad("%q is not a path inside a repository", file)
	}
	return Ref{Raw: "hf:" + s, Kind: Hub, Repo: org + "/" + name, Revision: rev, File: file, Quant: quant}, nil
}

// InRepo is the ref of a file in a repository of the Hub, as Parse reads it.
func InRepo(repo, revision, file string) string {
	at := ""
	if revision != DefaultRevision {
		at = "@" + url.PathEscape(revision)
	}
	return "hf:" + repo + at + "/" + file
}

// Repository is a ref to a whole repository of the Hub, "org/name", checked as Parse
// checks one. An empty revision is DefaultRevision.
func Repository(repo, revision string) (Ref, error) {
	r, err := Parse(InRepo(repo, cmp.Or(revision, DefaultRevision), "x"))
	if err != nil {
		return Ref{}, err
	}
	if r.Repo != repo {
		return Ref{}, usage(fmt.Sprintf("%q is not a repository of the Hub (ORG/REPO)", repo), nil)
	}
	r.Raw, r.File = strings.TrimSuffix(r.Raw, "/x"), ""
	return r, nil
}
