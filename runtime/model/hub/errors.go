package hub

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// The values of X-Error-Code that have an advice of their own.
const (
	gated           = "GatedRepo"
	missingRepo     = "RepoNotFound"
	missingRevision = "RevisionNotFound"
	missingFile     = "EntryNotFound"
)

// NotHubError means that an answer is none of a hub's: something else is at its address, or
// answers in its place.
type NotHubError struct {
	Host string
	// Err is what is wrong with the answer.
	Err error
}

func (e *NotHubError) Error() string {
	return fmt.Sprintf("%s does not answer as a Hub does: %v", e.Host, e.Err)
}

// Unwrap returns what is wrong with the answer.
func (e *NotHubError) Unwrap() error { return e.Err }

// NoListingError means that a server has a hub's files and not its API.
type NoListingError struct {
	// Err is its answer.
	Err error
}

func (e *NoListingError) Error() string {
	return fmt.Sprintf("the server does not list what a repository has: %v", e.Err)
}

// Unwrap returns the answer.
func (e *NoListingError) Unwrap() error { return e.Err }

// NoFileError means that a repository's listing does not have a file.
type NoFileError struct{ Repo, Revision, File string }

func (e *NoFileError) Error() string {
	return fmt.Sprintf("%s has no file %s at revision %s", e.Repo, e.File, e.Revision)
}

// status is the answer that an error is about, nil for any other error.
func status(err error) *transfer.StatusError {
	var s *transfer.StatusError
	if errors.As(err, &s) {
		return s
	}
	return nil
}

// isUnavailable reports whether a server does not have a part of the API, which is not the
// answer of a hub that has it: that one gives a reason.
func isUnavailable(err error) bool {
	var none *NoListingError
	var other *NotHubError
	if errors.As(err, &none) || errors.As(err, &other) {
		return true
	}
	s := status(err)
	return s != nil && s.Reason == "" && slices.Contains([]int{
		http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented,
	}, s.Code)
}

// isHubAnswer reports whether a hub answered, and refused.
func isHubAnswer(err error) bool { return status(err) != nil && !isUnavailable(err) }

// IsNoListing reports whether a server has no listing to choose a file from.
func IsNoListing(err error) bool { return isUnavailable(err) }

// MissingFileError means that a repository does not have a file.
type MissingFileError struct {
	// Err is the hub's answer.
	Err  error
	near []string
}

func (e *MissingFileError) Error() string { return e.Err.Error() }

// Unwrap returns the hub's answer.
func (e *MissingFileError) Unwrap() error { return e.Err }

// Advice names the files that the user may have meant.
func (e *MissingFileError) Advice() string { return nearAdvice(e.near) }

// IsMissingFile reports whether a hub refused because the repository lacks the file. A mirror
// need not give the reason.
func IsMissingFile(err error) bool {
	var known *MissingFileError
	s := status(err)
	return !errors.As(err, &known) && s != nil && (s.Reason == missingFile || s.Reason == "" && s.Code == http.StatusNotFound)
}

// Missing adds to the error of a missing file what the repository has instead. Where the
// listing has the file, the error stays as it is.
func (l Listing) Missing(file string, err error) error {
	if _, ok := l.Find(file); ok {
		return err
	}
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
