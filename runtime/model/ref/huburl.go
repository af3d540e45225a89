package ref

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The hosts whose URLs are the site's refs, wherever the endpoint of that site is.
var (
	huggingFaceHosts = []string{"huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"}
	modelScopeHosts  = []string{"modelscope.cn", "www.modelscope.cn"}
)

// fileRoutes are the words in a Hub URL before the revision and path of a file. What raw
// gives for a large file is a pointer to it, and the file is meant.
var fileRoutes = []string{"resolve", "blob", "raw", "blame"}

// bareHost reports whether a ref without a scheme begins with one of the sites' hosts, as
// in hf.co/ORG/REPO.
func bareHost(s string) bool {
	host, _, ok := strings.Cut(strings.ToLower(s), "/")
	return ok && (slices.Contains(huggingFaceHosts, host) || slices.Contains(modelScopeHosts, host))
}

// parseSiteURL reads a URL of one of the sites. It is false for any other host, and for a
// page that is no model's, which is fetched as any URL is.
func parseSiteURL(u *url.URL) (r Ref, ok bool, err error) {
	host := strings.ToLower(u.Hostname())
	switch {
	case u.Port() != "" && u.Port() != "443":
		return Ref{}, false, nil
	case slices.Contains(huggingFaceHosts, host):
		return huggingFacePage(u)
	case slices.Contains(modelScopeHosts, host):
		return modelScopePage(u)
	}
	return Ref{}, false, nil
}

// huggingFacePage reads /ORG/REPO, its tree at a revision, and a file's pages.
func huggingFacePage(u *url.URL) (Ref, bool, error) {
	parts := segments(u.EscapedPath())
	if len(parts) > 0 && slices.Contains([]string{"datasets", "spaces", "api", "buckets"}, parts[0]) {
		return Ref{}, false, nil
	}
	if len(parts) == 2 {
		r, err := parseHub(HuggingFace, strings.Join(parts, "/"))
		if file := u.Query().Get("show_file_info"); err == nil && file != "" {
			r, err = fileOf(r, r.Revision, file) // the page of a repository that shows one file
		}
		return r, true, err
	}
	if r, ok, err := filePage(HuggingFace, parts); ok || err != nil {
		return r, true, err
	}
	return otherPage(u, parts)
}

// modelScopePage reads /models/ORG/REPO, a file's pages, and the API's download of a file.
func modelScopePage(u *url.URL) (Ref, bool, error) {
	parts := segments(u.EscapedPath())
	if len(parts) == 6 && strings.Join(parts[:3], "/") == "api/v1/models" && parts[5] == "repo" {
		parts = []string{parts[3], parts[4], "resolve", u.Query().Get("Revision"), u.Query().Get("FilePath")}
	} else if len(parts) > 0 && (parts[0] == "datasets" || parts[0] == "api") {
		return Ref{}, false, nil
	}
	if len(parts) > 0 && parts[0] == "models" {
		parts = parts[1:]
	}
	if len(parts) == 3 && (parts[2] == "summary" || parts[2] == "files") {
		parts = parts[:2]
	}
	if len(parts) == 2 {
		r, err := parseHub(ModelScope, strings.Join(parts, "/"))
		return r, true, err
	}
	if len(parts) > 5 && parts[2] == "file" && parts[3] == "view" {
		parts = slices.Concat(parts[:2], []string{"resolve"}, parts[4:])
	}
	if r, ok, err := filePage(ModelScope, parts); ok || err != nil {
		return r, true, err
	}
	return otherPage(u, parts)
}

// otherPage refuses a page of a site that no file can be at.
func otherPage(u *url.URL, parts []string) (Ref, bool, error) {
	if slices.Contains(parts, "resolve") {
		return Ref{}, false, nil
	}
	return Ref{}, true, usage("model URL "+public(u), errors.New("it is the page of no model and no file"))
}

// filePage reads the parts of a URL's path: ORG/REPO/resolve/REVISION/FILE, or
// ORG/REPO/tree/REVISION. It is false for any other.
func filePage(site Site, parts []string) (Ref, bool, error) {
	if len(parts) < 4 {
		return Ref{}, false, nil
	}
	repo, err := parseHub(site, parts[0]+"/"+parts[1])
	if err != nil || repo.Quant != "" {
		return Ref{}, false, nil //nolint:nilerr // then it is another page
	}
	revision, file := cutRevision(parts[3:])
	switch {
	case !isRevision(revision):
	case slices.Contains(fileRoutes, parts[2]) && file != "":
		r, err := fileOf(repo, revision, file)
		return r, true, err
	case parts[2] == "tree" && file == "":
		repo.Revision = revision
		return repo.Whole(), true, nil
	case parts[2] == "tree":
		return Ref{}, true, usage("model URL of "+repo.Raw, fmt.Errorf("%q is a folder: name a file in it, or a quantisation", file))
	}
	return Ref{}, false, nil
}

// fileOf is the ref of a file of a repository.
func fileOf(repo Ref, revision, file string) (Ref, error) {
	r, err := Parse(repo.In(revision, file))
	if err == nil && r.SHA256 != "" { // the file's name ends as a ref's hash does
		err = usage("model ref "+repo.Raw, fmt.Errorf("%q is not a path inside a repository", file))
	}
	return r, err
}

// segments are the parts of a URL's path, each unescaped.
func segments(escaped string) []string {
	var out []string
	for part := range strings.SplitSeq(strings.Trim(escaped, "/"), "/") {
		if un, err := url.PathUnescape(part); err == nil {
			part = un
		}
		if part != "" {
			out = append(out, part)
		}
	}
	return out
}

// cutRevision cuts the parts of a path behind a revision, which may have slashes.
func cutRevision(parts []string) (revision, file string) {
	joined := strings.Join(parts, "/")
	if r := slashedRevision.FindString(joined); r != "" && (len(joined) == len(r) || joined[len(r)] == '/') {
		return r, strings.TrimPrefix(joined[len(r):], "/")
	}
	return parts[0], strings.Join(parts[1:], "/")
}

// AtEndpoint is the Hub ref that a URL of a Hub at this address is of. It is false for a URL
// of another host, and for one that is no file of a repository.
func (r Ref) AtEndpoint(endpoint string) (Ref, bool) {
	if r.Kind != HTTP {
		return Ref{}, false
	}
	u, err := url.Parse(r.URL)
	at, aerr := url.Parse(endpoint)
	if err != nil || aerr != nil || u.Scheme != at.Scheme || !strings.EqualFold(u.Host, at.Host) {
		return Ref{}, false
	}
	path, below := strings.CutPrefix(u.EscapedPath(), strings.TrimRight(at.EscapedPath(), "/")+"/")
	if !below {
		return Ref{}, false
	}
	parts := segments(path)
	if len(parts) < 5 || !slices.Contains(fileRoutes, parts[2]) {
		return Ref{}, false
	}
	hub, ok, err := filePage(HuggingFace, parts)
	if !ok || err != nil {
		return Ref{}, false
	}
	if r.SHA256 != "" {
		hub.SHA256 = r.SHA256
		hub.Raw += sumMark + r.SHA256
	}
	return hub, true
}
