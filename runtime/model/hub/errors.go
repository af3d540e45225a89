package hub

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// The values of X-Error-Code that have an advice of their own.
const (
	gated           = "GatedRepo"
	missingRepo     = "RepoNotFound"
	missingRevision = "RevisionNotFound"
	missingFile     = "EntryNotFound"
)

// MissingFileError means that a repository does not have a file.
type MissingFileError struct {
	// Err is the Hub's answer.
	Err  error
	near []string
}

func (e *MissingFileError) Error() string { return e.Err.Error() }

// Unwrap returns the Hub's answer.
func (e *MissingFileError) Unwrap() error { return e.Err }

// Advice names the files that the user may have meant.
func (e *MissingFileError) Advice() string { return nearAdvice(e.near) }

// IsMissingFile reports whether the Hub refused because the repository lacks the file.
func IsMissingFile(err error) bool {
	var s *transfer.StatusError
	return errors.As(err, &s) && s.Reason == missingFile
}

// Missing adds to the error of a missing file what the repository has instead.
func (l Listing) Missing(file string, err error) error {
	return &MissingFileError{err, l.near(file)}
}

// Advice says what to do where no file has the name that was wanted.
func (l Listing) Advice(want string) string { return nearAdvice(l.near(want)) }

// near are up to five .gguf names, the most similar to want first.
func (l Listing) near(want string) []string {
	var names []string
	for _, name := range l.Names() {
		if strings.HasSuffix(strings.ToLower(name), ".gguf") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	gguf.Nearest(want, names)
	return names[:min(len(names), 5)]
}

func nearAdvice(near []string) string {
	if len(near) == 0 {
		return "the repository has no .gguf file; look for one whose name ends in -GGUF"
	}
	return "the repository has, nearest first: " + strings.Join(near, ", ")
}

// Advice says what to do about the Hub's refusal of a ref.
func (c *Client) Advice(r ref.Ref, e *transfer.StatusError) string {
	page := c.Endpoint + "/" + r.Repo
	token := "set HF_TOKEN to a token that may read it (" + c.Endpoint + "/settings/tokens)"
	if c.Transfer.Token != "" {
		token = "check that HF_TOKEN is valid and may read it (" + c.Endpoint + "/settings/tokens)"
	}
	switch {
	case e.Reason == gated && e.Code == http.StatusForbidden:
		return "the token's account has no access yet: accept the conditions at " + page
	case e.Reason == gated:
		return "accept the conditions at " + page + ", then " + token
	case e.Reason == missingRevision:
		return fmt.Sprintf("the repository has no branch, tag or commit %q; leave @%s out for its main branch, or see %s",
			r.Revision, url.PathEscape(r.Revision), page)
	case e.Reason == missingFile:
		return "check the file's name at " + page + "/tree/" + url.PathEscape(r.Revision)
	case e.Reason == missingRepo, e.Code == http.StatusUnauthorized, e.Code == http.StatusNotFound:
		return "check the name at " + page + "; the Hub says the same of a missing repository and of a private one: if it is private, " + token
	case e.Code == http.StatusForbidden:
		return token
	case e.Code == http.StatusTooManyRequests:
		return "wait a few minutes; HF_TOKEN raises the Hub's limits"
	}
	return "run the same command again later; a download goes on from where it was"
}
