package transfer

import (
	"crypto/x509"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/llorch/llorch-bk/runtime/model/digest"
)

const (
	// DefaultStall is how long a server may send nothing before the connection is given
	// up and the request is tried again.
	DefaultStall = 60 * time.Second
	// DefaultChunk is the most bytes that are asked for in one request. The Hub's
	// content network refuses a request for all of a file of more than about 50 GB.
	DefaultChunk = 1 << 30
	// DefaultPieceFrom is the size in bytes from which a file is fetched in pieces.
	DefaultPieceFrom = 8 << 20
)

// Client sends requests and fetches files. Its fields are set before the first call. Then
// several goroutines may use it.
type Client struct {
	// Transport carries the requests. Nil means http.DefaultTransport, which obeys the
	// proxy variables.
	Transport http.RoundTripper
	// Roots are the authorities that a server's certificate may come from; nil for the
	// system's.
	Roots *x509.CertPool
	// Tokens are what the origins know this user by.
	Tokens []Credential
	// Stall is the longest time without progress; 0 means DefaultStall. There is no limit
	// on the whole time.
	Stall time.Duration
	// Chunk is the most bytes asked for in one request over a single connection; 0 means
	// DefaultChunk.
	Chunk int64
	// PieceFrom is the size in bytes from which a file is fetched in pieces; 0 means
	// DefaultPieceFrom.
	PieceFrom int64
	// Timer waits between two tries; nil for the real clock.
	Timer func() backoff.Timer
}

// StallTime is the longest time without progress.
func (c *Client) StallTime() time.Duration {
	if c.Stall > 0 {
		return c.Stall
	}
	return DefaultStall
}

func (c *Client) chunk() int64 {
	if c.Chunk > 0 {
		return c.Chunk
	}
	return DefaultChunk
}

func (c *Client) pieceFrom() int64 {
	if c.PieceFrom > 0 {
		return c.PieceFrom
	}
	return DefaultPieceFrom
}

// Source is a remote file whose identity is known.
type Source struct {
	// Address is where to ask. It may redirect.
	Address string
	// Size is in bytes, -1 where the server does not say it.
	Size int64
	Want digest.Want
	// Validator is a value for If-Range; empty where the server gives none.
	Validator string
	// Resumable says that a partial file can be told from the beginning of another file,
	// by the hash at the end or by the validator. Its size is known.
	Resumable bool
	// Transport sends the requests where the host wants them signed in its own way; nil
	// for the client's.
	Transport http.RoundTripper
}

// Progress shows a transfer. Its methods are called from one goroutine at a time.
type Progress interface {
	// Set tells how many bytes are there. It can go back: a server that ignores a range
	// makes the transfer start again.
	Set(done int64)
	// Note is a line that the user should see: a retry, a wait, a fallback.
	Note(line string)
}
