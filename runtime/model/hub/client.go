package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"

	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

const (
	maxPages    = 1000
	maxPageSize = 32 << 20
)

// Client asks one Hub.
type Client struct {
	// Transfer sends the requests. Its origin is the Hub's.
	Transfer *transfer.Client
	// Endpoint is the Hub's address, without a slash at its end.
	Endpoint string
}

// getJSON asks the Hub's API, and returns the address of the next page, if any.
func (c *Client) getJSON(ctx context.Context, address string, into any, retries uint64, note func(string)) (next string, err error) {
	asked, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("the Hub's address: %w", err)
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
			return false, fmt.Errorf("%s does not answer as a Hub does: %w", asked.Host, err)
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
