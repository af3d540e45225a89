package model

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// fault puts what failed, why and what to do into one error.
func (f *Fetcher) fault(ctx context.Context, ref Ref, err error) error {
	var known *fault.Fault
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return fault.New(fault.Interrupted, "model "+ref.Raw+": interrupted", err,
			"run the same command again; a download goes on from where it was")
	}
	return fault.New(fault.Model, "model "+ref.Raw, err, f.advice(ref, err))
}

func (f *Fetcher) advice(ref Ref, err error) string {
	var (
		status   *statusError
		mismatch *mismatchError
		refetch  *refetchError
		entry    *entryError
		space    *noSpaceError
		network  *networkError
		choice   *pickError
	)
	switch {
	case errors.Is(err, errOffline):
		return "name a model that is in the store or a file of your own, bring one in a bundle, or let the network be asked"
	case errors.Is(err, errSharded):
		return "download all parts into one folder and give the first one's path"
	case errors.Is(err, errShardHash):
		return "leave the #sha256 out: every part is verified against the Hub's own hash"
	case errors.As(err, &choice):
		return choice.advice()
	case errors.As(err, &entry):
		return entry.advice()
	case errors.As(err, &status):
		return f.statusAdvice(ref, status)
	case errors.As(err, &refetch):
		return "it was fetched twice and deleted both times: a proxy on the way changes it, or the promised hash is not this file's"
	case errors.As(err, &mismatch):
		return "check the ref's #sha256=, or take it out to use the file as it is"
	case errors.As(err, &space), errors.Is(err, errDiskFull), isFull(err):
		return "make room, or set LLORCH_MODEL_DIR to a folder on a bigger disk"
	case errors.Is(err, errNoLayer):
		return "name a model as docker model package makes one; a container image is run, not fetched"
	case errors.Is(err, errNotModel):
		return notModelAdvice(ref)
	case errors.Is(err, errNoSize):
		return "add #sha256=HEX to the URL, or download the file yourself and give its path"
	case errors.Is(err, errChanged):
		return "run the same command again when the file is no longer being replaced; pin a commit with hf:ORG/REPO@COMMIT/FILE"
	case errors.Is(err, errRedirect):
		return "give the address that the redirect leads to, if you trust it (HF_ENDPOINT for the Hub)"
	case isCertificate(err):
		return "where a proxy of your company signs connections, add its certificate to the system's, or name it in SSL_CERT_FILE"
	case ref.Kind == File && errors.Is(err, fs.ErrNotExist):
		return "check the path; a model of the Hub is written hf:ORG/REPO/FILE.gguf"
	case ref.Kind == File && errors.Is(err, fs.ErrPermission):
		return "make the file readable for the user that runs this command"
	case ref.Kind != File && isDisk(err):
		return "make the store " + f.Store.Dir() + " a folder that this user can write, or set LLORCH_MODEL_DIR to one"
	case errors.As(err, &network):
		return "check the network and the proxy (HTTPS_PROXY, NO_PROXY), then run the same command again; a download goes on from where it was"
	case ref.Kind == Hub:
		return "check HF_ENDPOINT and whatever stands between this machine and the Hub"
	}
	return "run the same command again"
}

func notModelAdvice(ref Ref) string {
	switch {
	case ref.Kind == HTTP && strings.Contains(ref.URL, "/blob/"):
		return "that URL is the page about the file; write hf:ORG/REPO/FILE.gguf, or /resolve/ in the place of /blob/"
	case ref.Kind == HTTP:
		return "give the URL of the file itself, not of the page that links to it"
	case ref.Kind == Hub:
		return "name a .gguf file of the repository; a repository without one has to be converted (convert_hf_to_gguf.py of llama.cpp)"
	}
	return "give a .gguf file; other formats have to be converted (convert_hf_to_gguf.py of llama.cpp)"
}

func (f *Fetcher) statusAdvice(ref Ref, e *statusError) string {
	if ref.Kind == Registry {
		switch {
		case transient(e) && e.code != http.StatusTooManyRequests:
			return "run the same command again later; a download goes on from where it was"
		case e.code == http.StatusTooManyRequests:
			return "wait a while, or log in (docker login): registries allow their users more"
		}
		return "check the name and the tag; a registry says the same of a missing repository and of a private one: if it is private, log in with docker login"
	}
	if ref.Kind == HTTP {
		switch {
		case transient(e):
			return "run the same command again later; a download goes on from where it was"
		case e.code == http.StatusUnauthorized, e.code == http.StatusForbidden:
			return "the URL needs a login or has expired: get a fresh one, or download the file yourself and give its path"
		}
		return "check the URL"
	}
	page := f.Environment.Endpoint + "/" + ref.Repo
	token := "set HF_TOKEN to a token that may read it (" + f.Environment.Endpoint + "/settings/tokens)"
	if f.Environment.Token != "" {
		token = "check that HF_TOKEN is valid and may read it (" + f.Environment.Endpoint + "/settings/tokens)"
	}
	switch {
	case e.reason == "GatedRepo" && e.code == http.StatusForbidden:
		return "the token's account has no access yet: accept the conditions at " + page
	case e.reason == "GatedRepo":
		return "accept the conditions at " + page + ", then " + token
	case e.reason == "RevisionNotFound":
		return fmt.Sprintf("the repository has no branch, tag or commit %q; leave @%s out for its main branch, or see %s",
			ref.Revision, url.PathEscape(ref.Revision), page)
	case e.reason == "EntryNotFound":
		return "check the file's name at " + page + "/tree/" + url.PathEscape(ref.Revision)
	case e.reason == "RepoNotFound", e.code == http.StatusUnauthorized, e.code == http.StatusNotFound:
		return "check the name at " + page + "; the Hub says the same of a missing repository and of a private one: if it is private, " + token
	case e.code == http.StatusForbidden:
		return token
	case e.code == http.StatusTooManyRequests:
		return "wait a few minutes; HF_TOKEN raises the Hub's limits"
	}
	return "run the same command again later; a download goes on from where it was"
}
