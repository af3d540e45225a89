package hub

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// What the Hub says in X-Error-Message where it gives no X-Error-Code.
// (huggingface_hub's utils/_http.py tells them by the same words.)
const (
	badToken = "Invalid credentials"
	disabled = "is disabled"
)

// Advice says what to do about a hub's refusal of a ref. It is empty where the cause is not
// known.
func (c *Client) Advice(r ref.Ref, e *transfer.StatusError) string {
	page := c.page(r.Repo, r.Site)
	switch {
	case e.Redirected && !transfer.IsTransient(e):
		return e.Host + ", where the hub keeps the file, refuses it: look whether a proxy on the way changes the address"
	case e.Redirected:
		return "run the same command again later: " + e.Host + ", where the hub keeps the file, refuses it now; a download goes on from where it was"
	case e.Reason == gated && e.Code == http.StatusForbidden:
		return "the token's account has no access yet: accept the conditions at " + page
	case e.Reason == gated:
		return "accept the conditions at " + page + ", then " + c.token()
	case e.Reason == missingRevision:
		return fmt.Sprintf("the repository has no branch, tag or commit %q; leave @%s out for its main branch, or see %s",
			r.Revision, url.PathEscape(r.Revision), page)
	case e.Reason == missingFile:
		return "check the file's name at " + page + "/tree/" + url.PathEscape(r.Revision)
	case strings.Contains(e.Detail, badToken):
		return "the token is not valid, or no longer: put a new one into " + c.TokenFrom + ", or unset it for public models"
	case strings.Contains(e.Detail, disabled):
		return "the repository was taken offline: see " + page + ", and choose another one"
	case e.Reason == missingRepo, e.Code == http.StatusUnauthorized:
		return "check the name at " + page + "; the Hub says the same of a missing repository and of a private one: if it is private, " + c.token()
	case e.Code == http.StatusNotFound:
		return "check the name at " + page
	case e.Code == http.StatusForbidden:
		return e.Host + " gives no reason: if it is a mirror or a gateway (" + c.from() + "), ask who runs it"
	case e.Code == http.StatusTooManyRequests && !c.HasToken:
		return "wait a few minutes; a token in " + c.TokenFrom + " raises the limit"
	case e.Code == http.StatusTooManyRequests:
		return "wait a few minutes, and run the same command again"
	case transfer.IsTransient(e):
		return "run the same command again later; a download goes on from where it was"
	}
	return ""
}

// NotHubAdvice says what to do where something else than a hub answers.
func (c *Client) NotHubAdvice() string {
	if c.EndpointFrom == "" {
		return "look at " + c.Endpoint + " with a browser on this machine: a proxy, or the login page of a network, answers in its place"
	}
	return c.from() + ": check that it is the address of a hub"
}

// from names where the hub's address is from.
func (c *Client) from() string {
	if c.EndpointFrom == "" {
		return c.Endpoint
	}
	return c.EndpointFrom + " is " + c.Endpoint
}

// page is the repository's page, for a person.
func (c *Client) page(repo string, site ref.Site) string {
	if site == ref.ModelScope {
		return c.Endpoint + "/models/" + repo
	}
	return c.Endpoint + "/" + repo
}

// token says what to do about the token that a hub wants.
func (c *Client) token() string {
	page := " (" + c.Endpoint + c.TokenPage + ")"
	if c.HasToken {
		return "check that " + c.TokenFrom + " is valid and may read it" + page
	}
	return "set " + c.TokenFrom + " to a token that may read it" + page
}
