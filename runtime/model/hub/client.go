package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

const (
	maxPages    = 1000
	maxPageSize = 32 << 20
)

// Client asks one hub.
type Client struct {
	// Transfer sends the requests.
	Transfer *transfer.Client
	// Endpoint is the hub's address, without a slash at its end.
	Endpoint string
	// EndpointFrom is the variable that names another address than the public one, empty
	// where none does. TokenFrom is the variable for the user's token, TokenPage the path of
	// the page where the hub makes one, and HasToken says that there is one. Advice names them.
	EndpointFrom, TokenFrom, TokenPage string
	HasToken                           bool
}

// getJSON asks the hub's API, and returns the address of the next page, if any.
func (c *Client) getJSON(ctx context.Context, address string, into any, retries uint64, note func(string)) (next string, err error) {
	asked, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("the hub's address: %w", err)
	}
	err = c.Transfer.Retry(ctx, retries, note, func() (bool, error) {
		resp, err := c.Transfer.Send(ctx, http.MethodGet, address, nil,
			func(_ *http.Response, to *url.URL) bool { return transfer.SameOrigin(to, asked) })
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false, transfer.Failure(resp, address)
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxPageSize))
		if err != nil {
			return false, err
		}
		if err := json.Unmarshal(b, into); err != nil {
			if page := transfer.AsPage(b, bytes.NewReader(b)); page != nil {
				err = page
			}
			return false, &NotHubError{Host: asked.Host, Err: err}
		}
		next, err = nextPage(resp.Header.Get("Link"), asked)
		return false, err
	})
	return next, err
}

var linkNext = regexp.MustCompile(`<([^<>]*)>\s*;(?:[^,<]*;)?\s*rel="?next"?(?:[\s;,]|$)`)

// nextPage reads a Link field's rel=next (RFC 8288). The next page must be on the host
// that was asked, because the token goes with the request.
func nextPage(link string, asked *url.URL) (string, error) {
	m := linkNext.FindStringSubmatch(link)
	if m == nil {
		return "", nil
	}
	u, err := asked.Parse(m[1])
	if err != nil || !transfer.SameOrigin(u, asked) {
		return "", fmt.Errorf("%s: the next page is on another host: %w", asked.Host, transfer.ErrRedirect)
	}
	return u.String(), nil
}

// resolve is the address below which the Hub hands out the files of a revision, with a slash
// at its end.
func (c *Client) resolve(repo, revision string) string {
	return c.Endpoint + "/" + repo + "/resolve/" + url.PathEscape(revision) + "/"
}

// escaped is a slash-separated path as a URL has it.
func escaped(file string) string {
	parts := strings.Split(file, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
