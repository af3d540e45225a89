package health

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// bodyLimit is more than /health and /props ever return.
const bodyLimit = 1 << 20

// NewClient returns a client for a server that was just started. It uses no proxy, follows no
// redirect, which would lead to another server, and keeps no connection, since a published
// port may accept connections before the server does.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 nil,
			DisableKeepAlives:     true,
			ResponseHeaderTimeout: 30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is the result of one request to /health.
type answer struct {
	ready bool
	// step is the server's progress according to the answer.
	step Step
	// text describes the answer, for the error if no better one follows.
	text string
}

// probe makes one request with a timeout.
func probe(ctx context.Context, c *http.Client, base string, timeout time.Duration) answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status, body, err := get(ctx, c, base+"/health")
	if err != nil {
		return answer{step: Starting, text: fmt.Sprintf("GET /health: %v", err)}
	}
	var says struct {
		Status string `json:"status"`
		Error  struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	isJSON := json.Unmarshal(body, &says) == nil
	text := fmt.Sprintf("GET /health answers %d", status)
	switch {
	case status == http.StatusOK && isJSON && says.Status == "ok":
		return answer{ready: true, step: Loading, text: text}
	case status == http.StatusOK:
		return answer{step: Starting, text: text + ", but not like llama.cpp's server"}
	case isJSON && says.Error.Message != "":
		text += ": " + says.Error.Message
	}
	if status == http.StatusServiceUnavailable {
		return answer{step: Loading, text: text}
	}
	return answer{step: Starting, text: text}
}

// Look asks a server once for its step. A server that does not answer within two seconds, or
// not like llama.cpp's, is Starting.
func Look(ctx context.Context, base string) Step {
	a := probe(ctx, NewClient(), base, 2*time.Second)
	if a.ready {
		return Ready
	}
	return a.step
}

func get(ctx context.Context, c *http.Client, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	return resp.StatusCode, body, err
}

// Props is a server's description of itself. Fields that the server does not report, for
// instance an older one, are empty.
type Props struct {
	// BuildInfo is the build number and short commit, as in "b5000-de3ff81".
	BuildInfo string `json:"build_info"`
	// ModelPath is the model file as the server sees it.
	ModelPath string `json:"model_path"`
	// TotalSlots is the number of requests that it handles at once.
	TotalSlots int `json:"total_slots"`
}

// AskProps reads /props of a ready server at base (a URL without a trailing slash). The fields
// are those of llama.cpp's tools/server. A nil c means NewClient.
func AskProps(ctx context.Context, c *http.Client, base string) (Props, error) {
	if c == nil {
		c = NewClient()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	status, body, err := get(ctx, c, strings.TrimSuffix(base, "/")+"/props")
	if err != nil {
		return Props{}, err
	}
	if status != http.StatusOK {
		return Props{}, fmt.Errorf("GET /props answers %d", status)
	}
	var p Props
	if err := json.Unmarshal(body, &p); err != nil {
		return Props{}, fmt.Errorf("GET /props: %w", err)
	}
	return p, nil
}
