package ref

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Site is a hub that a Hub ref's repository is on.
type Site int

// The sites.
const (
	// HuggingFace is the Hugging Face Hub, or the mirror of it that HF_ENDPOINT names.
	HuggingFace Site = iota
	// ModelScope is modelscope.cn, or the mirror of it that MODELSCOPE_ENDPOINT names.
	ModelScope
)

// Scheme is how the site's refs begin, with the colon.
func (s Site) Scheme() string {
	if s == ModelScope {
		return "ms:"
	}
	return "hf:"
}

// DefaultRevision is the revision of a ref to this site that does not name one.
func (s Site) DefaultRevision() string {
	if s == ModelScope {
		return "master"
	}
	return DefaultRevision
}

var (
	// repoPart is one half of a repository's name, as the Hub allows it. The store joins
	// the halves with two dashes, so these must not occur inside.
	repoPart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$`)
	// quantWord is what a ref may give as a quantisation.
	quantWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$`)
	// slashedRevision is the beginning of a path that is a revision with slashes in its
	// name: the Hub's pull requests and conversions.
	slashedRevision = regexp.MustCompile(`^refs/(?:pr/\d+|convert/[\w.-]+)`)
)

// parseHub reads what stands behind a site's scheme:
// ORG/REPO, then :QUANT and @REVISION in any order, or @REVISION and /FILE.
func parseHub(site Site, s string) (Ref, error) {
	s = strings.TrimLeft(s, "/") // hf://ORG/REPO
	bad := func(format string, args ...any) (Ref, error) {
		return Ref{}, usage("model ref "+site.Scheme()+s, fmt.Errorf(format, args...))
	}
	if strings.ContainsAny(s, "#?") {
		return bad("a ref takes no query, and #sha256=HEX is its only fragment")
	}
	org, rest, _ := strings.Cut(s, "/")
	if org == "datasets" || org == "spaces" {
		return bad("%s are not models", org)
	}
	name, rest := cutAny(rest, "/:@")
	if !isRepo(org, name) {
		return bad("%q is not a repository (ORG/REPO)", strings.TrimSuffix(org+"/"+name, "/"))
	}
	r := Ref{Kind: Hub, Site: site, Repo: org + "/" + name}
	for rest != "" && rest[0] != '/' {
		var err error
		if rest, err = r.suffix(rest); err != nil {
			return bad("%w", err)
		}
	}
	if err := r.setFile(rest); err != nil {
		return bad("%w", err)
	}
	r.Revision = cmp.Or(r.Revision, site.DefaultRevision())
	r.Raw = site.Scheme() + strings.TrimRight(s, "/")
	return r, nil
}

// suffix takes :QUANT or @REVISION off the beginning of s, and returns what is left.
func (r *Ref) suffix(s string) (rest string, err error) {
	mark, s := s[0], s[1:]
	var word string
	if word = slashedRevision.FindString(s); mark == '@' && word != "" {
		rest = s[len(word):]
	} else {
		word, rest = cutAny(s, "/:@")
	}
	if mark == ':' {
		return rest, r.setQuant(word)
	}
	// Any other slash inside a revision is written as %2F: the path begins at the next slash.
	revision, err := url.PathUnescape(word)
	switch {
	case r.Revision != "":
		return "", errors.New("it names two revisions")
	case err != nil || !isRevision(revision):
		return "", fmt.Errorf("%q is not a revision", word)
	}
	r.Revision = revision
	return rest, nil
}

// setQuant takes what stands behind the colon: a quantisation, the word that registries
// have for the default, or a file at the repository's top.
func (r *Ref) setQuant(word string) error {
	switch {
	case r.Quant != "" || r.File != "":
		return errors.New("it names two quantisations")
	case strings.EqualFold(word, "latest"):
		return nil
	case isGGUF(word) && CleanRelative(word):
		r.File = word
		return nil
	case !quantWord.MatchString(word):
		return fmt.Errorf("%q is not a quantisation", word)
	}
	r.Quant = word
	return nil
}

// setFile takes the path that a ref ends in, with the slash before it.
func (r *Ref) setFile(path string) error {
	file := strings.TrimPrefix(path, "/")
	if isGGUF(strings.TrimRight(file, "/")) {
		file = strings.TrimRight(file, "/")
	}
	switch {
	case file == "":
		return nil // a slash behind the repository says no more
	case r.File != "":
		return errors.New("it names two files")
	case r.Quant != "":
		return errors.New("it names both a quantisation and a file")
	case strings.HasSuffix(file, "/"):
		return fmt.Errorf("%q is a folder: name a file in it, or a quantisation", file)
	case !CleanRelative(file):
		return fmt.Errorf("%q is not a path inside a repository", file)
	}
	r.File = file
	return nil
}

// cutAny cuts s before the first of some characters.
func cutAny(s, chars string) (before, rest string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// isRepo reports whether two words are the halves of a repository's name.
func isRepo(org, name string) bool {
	return repoPart.MatchString(org) && repoPart.MatchString(name) &&
		!strings.Contains(org+" "+name, "--") && !strings.Contains(org+" "+name, "..")
}

func isRevision(s string) bool { return CleanRelative(s) && !strings.HasSuffix(s, ".lock") }

func isGGUF(name string) bool { return strings.HasSuffix(strings.ToLower(name), ".gguf") }

// isBareHub reports whether a word without a scheme is a Hub ref and no path: ORG/REPO with
// a quantisation or a revision. A file of that name is written with ./ before it.
func isBareHub(s string) bool {
	org, rest, _ := strings.Cut(s, "/")
	name, mark := cutAny(rest, "/:@")
	return isRepo(org, name) && len(mark) > 1 && mark[0] != '/' && !isGGUF(s)
}

// AsHub is the Hub ref that a path without a scheme could be meant as: a repository, or a
// file in one. It is false for a path that is not of that form.
func AsHub(path string) (Ref, bool) {
	if strings.Count(path, "/") == 1 && isGGUF(path) {
		return Ref{}, false // a file in a folder
	}
	r, err := parseHub(HuggingFace, path)
	return r, err == nil && !strings.HasPrefix(path, "/") && (r.File == "" || isGGUF(r.File))
}

// In is the ref of a file in a Hub ref's repository at a revision, as Parse reads it.
func (r Ref) In(revision, file string) string {
	at := ""
	if revision != r.Site.DefaultRevision() {
		at = "@" + url.PathEscape(revision)
	}
	return r.Site.Scheme() + r.Repo + at + "/" + file
}

// Repository is a ref to a whole repository of the Hub, "org/name", checked as Parse
// checks one. An empty revision is DefaultRevision.
func Repository(repo, revision string) (Ref, error) {
	r := Ref{Kind: Hub, Repo: repo, Revision: cmp.Or(revision, DefaultRevision)}
	parsed, err := Parse(r.In(r.Revision, "x"))
	if err != nil {
		return Ref{}, err
	}
	if parsed.Repo != repo {
		return Ref{}, usage(fmt.Sprintf("%q is not a repository of the Hub (ORG/REPO)", repo), nil)
	}
	return parsed.Whole(), nil
}

// Whole is the ref to all of a Hub ref's repository, at the same revision.
func (r Ref) Whole() Ref {
	r.File, r.Quant, r.SHA256 = "", "", ""
	r.Raw = strings.TrimSuffix(r.In(r.Revision, ""), "/")
	return r
}
