package transfer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"
)

var (
	// ErrStalled means that a server sent too little for too long.
	ErrStalled = errors.New("the server stopped sending")
	// ErrRedirect means a redirect that is not followed: from https to http, or with the
	// token to another host.
	ErrRedirect = errors.New("a redirect that is not followed")
	// ErrBadRedirect means redirects without an end, or to no address.
	ErrBadRedirect = errors.New("the redirects lead nowhere")
	// ErrEncoded means a body that is compressed, although the request forbids it. Its
	// ranges and its hash would be those of other bytes.
	ErrEncoded = errors.New("an answer that is not the file's own bytes")
	// ErrBadRange means an answer with another range than the one asked for. Another
	// server behind the same name may do better.
	ErrBadRange = errors.New("the server sent another range than the one asked for")
	// ErrChanged means that a file is no longer the one that was looked up.
	ErrChanged = errors.New("the file changed on the server while it was fetched")
	// ErrDiskFull means that the disk filled up while the file was written.
	ErrDiskFull = errors.New("the disk is full; the partial download was deleted to give its space back")
	// ErrNoSize means a file that could be cut off without anybody noticing.
	ErrNoSize = errors.New("the server does not say how big the file is, so a cut file could not be told from a whole one")

	// errWhole means that a server answers a range with the whole file.
	errWhole = errors.New("the server ignores ranges")
)

// NetworkError means that a conversation with a host broke. Trying again may help.
type NetworkError struct {
	Host string
	Err  error
}

func (e *NetworkError) Error() string { return fmt.Sprintf("%s: %v", e.Host, e.Err) }

// Unwrap returns the cause.
func (e *NetworkError) Unwrap() error { return e.Err }

// StatusError is an answer with another status than the one hoped for.
type StatusError struct {
	Code int
	Host string
	// Redirected says that the answer came from a host that the one asked redirected to.
	Redirected bool
	// Reason and Detail are the server's own words: the Hub's X-Error-Code and
	// X-Error-Message, or the error of a registry.
	Reason, Detail string
	// Wait is how long the server asks to be left alone, 0 where it does not say.
	Wait time.Duration
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s answered %d %s", e.Host, e.Code, http.StatusText(e.Code))
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// CorruptError means that received bytes do not have the promised hash. Fetching them
// again may help, unlike where two promises differ.
type CorruptError struct{ Err error }

func (e *CorruptError) Error() string { return e.Err.Error() }

// Unwrap returns the mismatch.
func (e *CorruptError) Unwrap() error { return e.Err }

// IsCertificate reports whether a server could not prove who it is. Trying again does not
// help.
func IsCertificate(err error) bool {
	var c *tls.CertificateVerificationError
	return errors.As(err, &c)
}

// IsTransient reports whether trying again may help.
func IsTransient(err error) bool {
	var s *StatusError
	if errors.As(err, &s) {
		switch {
		case s.Code == http.StatusRequestTimeout, s.Code == http.StatusTooManyRequests, s.Code >= 500:
			return true
		case s.Code == http.StatusForbidden || s.Code == http.StatusUnauthorized || s.Code == http.StatusGone:
			// The host behind a redirect refuses a signed URL that has expired. The next
			// try gets a new one.
			return s.Redirected
		}
		return false
	}
	var n *NetworkError
	return errors.As(err, &n) || errors.Is(err, ErrBadRange)
}
