package mirror

import (
	"io"
	"net"
	"net/http"
	"time"

	"github.com/llorch/llorch-bk/images/fault"
)

// Request is one that was answered. It has no secret: neither query nor fields.
type Request struct {
	Time time.Time `json:"time"`
	// Remote is the client's address, without its port.
	Remote string `json:"remote"`
	Method string `json:"method"`
	// Path is escaped as it was sent.
	Path   string `json:"path"`
	Range  string `json:"range,omitempty"`
	Status int    `json:"status"`
	// Bytes is how much of the body was sent.
	Bytes int64 `json:"bytes"`
	// Took is in seconds.
	Took  float64 `json:"took"`
	Agent string  `json:"agent,omitempty"`
}

// watched reports each request when it has been answered.
func (m *Mirror) watched(next http.Handler) http.Handler {
	if m.Saw == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		c := &counted{ResponseWriter: w}
		defer func() {
			host, _, err := net.SplitHostPort(r.RemoteAddr)
			if err != nil {
				host = r.RemoteAddr
			}
			m.Saw(Request{
				Time: began.UTC().Truncate(time.Millisecond), Remote: host, Method: fault.Printable(r.Method), Path: r.URL.EscapedPath(),
				Range: fault.Printable(r.Header.Get("Range")), Status: c.status, Bytes: c.bytes,
				Took: time.Since(began).Round(time.Microsecond).Seconds(), Agent: fault.Printable(r.UserAgent()),
			})
		}()
		next.ServeHTTP(c, r)
	})
}

// counted is an answer whose status and bytes are counted.
type counted struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (c *counted) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	return n, err
}

// ReadFrom lets the kernel copy a file to the connection.
func (c *counted) ReadFrom(in io.Reader) (int64, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := io.Copy(c.ResponseWriter, in)
	c.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }
