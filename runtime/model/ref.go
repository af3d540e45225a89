package model

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// Kind is where a ref's model comes from.
type Kind int

// The kinds of ref.
const (
	// File is a file of the user's own on this host.
	File Kind = iota
	// Hub is a file in a repository of the Hugging Face Hub.
	Hub
	// HTTP is a plain http or https URL.
	HTTP
	// Registry is a model in a container registry, as Docker Model Runner and CNCF's
	// ModelPack store one.
	Registry
)

// DefaultRevision is the revision of a Hub ref that names none.
const DefaultRevision = "main"

// Ref names one model file. Only the fields of its Kind are set.
type Ref struct {
	// Raw is the ref as it was given, without the query of a URL: a signed
	// URL's query is a secret. It is safe to print and to store.
	Raw  string
	Kind Kind
	// Path is the path of a File, as given: relative to the working folder or absolute.
	Path string
	// Repo is "org/name", Revision a branch, tag or commit, and File the
	// slash-separated path inside the repository of a Hub ref. File is empty where
	// Quant, a quantisation such as Q4_K_M, or llama.cpp's own choice names the file.
	// Of a Registry's, Repo is "host/path" and Revision a tag or a digest's hex; File
	// is empty.
	Repo, Revision, File, Quant string
	// URL is the address of an HTTP ref with its query and without its fragment.
	URL string
	// SHA256 is the hash that the user requires, in lower-case hex; empty for none.
	SHA256 string
}

// String is Raw: no verb of fmt prints the query of a URL.
func (r Ref) String() string { return r.Raw }

// name is the ref for a person, with the file that it came to mean.
func (r Ref) name() string {
	if r.Kind == Hub && r.File != "" && !strings.Contains(r.Raw, r.File) {
		return r.Raw + " (" + r.File + ")"
	}
	return r.Raw
}

// GoString keeps %#v as discreet as String.
func (r Ref) GoString() string { return fmt.Sprintf("model.Ref(%q)", r.Raw) }

const refForms = "write a path, file:PATH, hf:ORG/REPO[@REVISION], hf:ORG/REPO[@REVISION]:QUANT, hf:ORG/REPO[@REVISION]/FILE.gguf, " +
	"oci://[REGISTRY/]NAME[:TAG], or an http(s) URL, each with an optional #sha256=HEX"

var (
	hex64  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	hex40  = regexp.MustCompile(`^[0-9a-f]{40}$`)
	scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)
	// A repository's halves, as the Hub allows them. Two dashes are what the
	// store's folder names are joined with, so they must not occur inside.
	repoPart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$`)
)

// Parse reads a model ref. What is wrong with one is a Usage fault that never
// repeats a password or a query.
func Parse(raw string) (Ref, error) {
	if strings.TrimSpace(raw) == "" {
		return Ref{}, usage("a model ref is empty", nil)
	}
	if strings.ContainsFunc(raw, isControl) {
		return Ref{}, usage("a model ref contains control characters", nil)
	}
	body, sum, err := cutSum(raw)
	if err != nil {
		return Ref{}, err
	}
	var r Ref
	lower := strings.ToLower(body)
	switch {
	case strings.HasPrefix(lower, "hf:"):
		r, err = parseHub(body[len("hf:"):])
	case strings.HasPrefix(lower, registryScheme):
		r, err = parseRegistry(body[len(registryScheme):])
	case strings.HasPrefix(lower, "http://"), strings.HasPrefix(lower, "https://"):
		r, err = parseHTTP(body)
	case strings.HasPrefix(lower, "file:"):
		r, err = parseFile(body[len("file:"):])
	case scheme.MatchString(body):
		return Ref{}, usage(fmt.Sprintf("a model ref cannot begin with %q", scheme.FindString(body)), nil)
	default:
		r, err = parseFile(body)
	}
	if err != nil {
		return Ref{}, err
	}
	if r.Raw == "" {
		r.Raw = body
	}
	if sum != "" {
		r.SHA256 = sum
		r.Raw += "#sha256=" + sum
	}
	return r, nil
}

// cutSum takes a trailing #sha256=HEX off a ref.
func cutSum(raw string) (body, sum string, err error) {
	const mark = "#sha256="
	i := strings.LastIndex(raw, mark)
	if i < 0 {
		return raw, "", nil
	}
	sum = strings.ToLower(raw[i+len(mark):])
	if !hex64.MatchString(sum) {
		return "", "", usage("a model ref's #sha256= needs 64 hexadecimal digits", nil)
	}
	return raw[:i], sum, nil
}

func parseFile(p string) (Ref, error) {
	raw := p
	if rest, ok := strings.CutPrefix(p, "//"); ok {
		host, abs, found := strings.Cut(rest, "/")
		if !found || (host != "" && !strings.EqualFold(host, "localhost")) {
			return Ref{}, usage(fmt.Sprintf("file:%s does not name a file on this host", raw), nil)
		}
		p = "/" + abs
	}
	if p == "" {
		return Ref{}, usage("a file: ref names no file", nil)
	}
	return Ref{Kind: File, Path: filepath.Clean(p)}, nil
}

func parseHub(s string) (Ref, error) {
	bad := func(format string, args ...any) (Ref, error) {
		return Ref{}, usage(fmt.Sprintf("model ref hf:%s", s), fmt.Errorf(format, args...))
	}
	if strings.Contains(s, "#") {
		return bad("the only fragment that a ref takes is #sha256=HEX")
	}
	org, rest, _ := strings.Cut(s, "/")
	name, file, hasFile := strings.Cut(rest, "/")
	// The quantisation may stand before the revision or after it; neither has the
	// other's sign in it.
	name, quant, hasQuant := strings.Cut(name, ":")
	name, rev, hasRev := strings.Cut(name, "@")
	if !hasRev {
		quant, rev, hasRev = strings.Cut(quant, "@")
	}
	if !repoPart.MatchString(org) || !repoPart.MatchString(name) ||
		strings.Contains(org+" "+name, "--") || strings.Contains(org+" "+name, "..") {
		return bad("%q is no repository of the Hub (ORG/REPO)", strings.TrimSuffix(org+"/"+name, "/"))
	}
	if hasRev {
		// A slash inside a revision (refs/pr/1) is written as %2F: the path begins at the next slash.
		un, err := url.PathUnescape(rev)
		if err != nil || !cleanRelative(un) || strings.HasSuffix(un, ".lock") {
			return bad("%q is no revision", rev)
		}
		rev = un
	} else {
		rev = DefaultRevision
	}
	switch {
	case hasQuant && !quantWord.MatchString(quant):
		return bad("%q is no quantisation", quant)
	case hasQuant && hasFile:
		return bad("it names both a quantisation and a file")
	case hasFile && !cleanRelative(file):
		return bad("%q is no path inside a repository", file)
	}
	return Ref{Raw: "hf:" + s, Kind: Hub, Repo: org + "/" + name, Revision: rev, File: file, Quant: quant}, nil
}

func parseHTTP(s string) (Ref, error) {
	u, err := url.Parse(s)
	// url.Parse repeats the whole URL in its error, so that error stays here.
	if err != nil || u.Hostname() == "" {
		return Ref{}, usage("a model URL cannot be read", nil)
	}
	if u.User != nil {
		return Ref{}, fault.New(fault.Usage, "a model URL carries a user name or password", nil,
			"take it out: URLs end up in logs and in the handoff; download the file yourself and name its path, or use a signed URL")
	}
	if u.Fragment != "" {
		return Ref{}, usage(fmt.Sprintf("model URL %s", public(u)), fmt.Errorf("the only fragment that a ref takes is #sha256=HEX"))
	}
	return Ref{Raw: public(u), Kind: HTTP, URL: u.String()}, nil
}

// public is a URL that may be shown: no user, query or fragment.
func public(u *url.URL) string {
	c := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return c.String()
}

// cleanRelative says whether p is a slash-separated relative path that stays
// where it is put.
func cleanRelative(p string) bool {
	return p != "" && path.Clean(p) == p && p != "." && p != ".." && !strings.HasPrefix(p, "/") &&
		!strings.HasPrefix(p, "../") && !strings.Contains(p, `\`) && !strings.ContainsFunc(p, isControl)
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

func usage(what string, why error) error { return fault.New(fault.Usage, what, why, refForms) }
