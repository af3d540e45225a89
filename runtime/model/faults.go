package model

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/disk"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/hub"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/registry"
	"github.com/llorch/llorch-bk/runtime/model/store"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// fault puts what failed, why, and what to do into one error.
func (f *Fetcher) fault(ctx context.Context, r Ref, err error) error {
	var known *fault.Fault
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return fault.New(fault.Interrupted, "model "+r.Raw+": interrupted", err,
			"run the same command again; a download goes on from where it was")
	}
	return fault.New(fault.Model, "model "+r.Raw, err, f.advice(r, err))
}

// advice says what to do about an error, by its cause. A cause without a known remedy has
// no advice.
func (f *Fetcher) advice(r Ref, err error) string {
	var (
		other    *hub.NotHubError
		unlisted *hub.NoListingError
		page     *transfer.PageError
		status   *transfer.StatusError
		mismatch *digest.MismatchError
		corrupt  *transfer.CorruptError
		missing  *hub.MissingFileError
		space    *disk.NoSpaceError
		network  *transfer.NetworkError
		choice   *gguf.PickError
		damaged  *store.DamagedError
	)
	switch {
	case errors.As(err, &damaged):
		return "let it be fetched again where the network may be asked, or remove it with `llorch-bk model rm`"
	case errors.Is(err, errChanging):
		return "wait until whatever writes the file is done, then run the same command again"
	case errors.Is(err, errOffline):
		return "name a model that is in the store or a file of your own, bring one in a bundle, or let the network be asked"
	case errors.Is(err, errSharded):
		return "download all files into one folder and give the first one's path"
	case errors.Is(err, errIncomplete):
		return "put all files of the model into one folder"
	case errors.Is(err, errShardHash):
		return "leave the #sha256 out: every file is verified against the Hub's own hash"
	case errors.As(err, &choice):
		return choice.Advice()
	case errors.As(err, &missing):
		return missing.Advice()
	case errors.As(err, &other):
		return f.hub(r.Site).NotHubAdvice()
	case errors.As(err, &unlisted):
		return "check the name; if it is right, this server has no list to choose a file from: name one, as in hf:ORG/REPO/FILE.gguf"
	case errors.As(err, &status):
		return f.statusAdvice(r, status)
	case errors.As(err, &corrupt):
		return "it was fetched twice and deleted both times: a proxy on the way changes it, or the expected hash belongs to another file"
	case errors.As(err, &mismatch):
		return "check the ref's #sha256=, or take it out to use the file as it is"
	case errors.As(err, &space), errors.Is(err, transfer.ErrDiskFull), disk.IsFull(err):
		return "make room, or set LLORCH_MODEL_DIR to a folder on a bigger disk"
	case disk.IsTooLarge(err):
		return "set LLORCH_MODEL_DIR to a folder on a file system that takes files of this size; FAT ends at 4 GiB"
	case errors.Is(err, registry.ErrNoLayer):
		return "name a model as docker model package makes one; a container image is run, not fetched"
	case errors.As(err, &page):
		return f.pageAdvice(r)
	case errors.Is(err, gguf.ErrNotModel):
		return notModelAdvice(r)
	case errors.Is(err, transfer.ErrNoSize):
		return "add #sha256=HEX to the URL, or download the file yourself and give its path"
	case errors.Is(err, transfer.ErrChanged):
		return "run the same command again when the file is no longer being replaced; pin a commit with hf:ORG/REPO@COMMIT/FILE"
	case errors.Is(err, transfer.ErrRedirect):
		return "give the address that the redirect leads to, if you trust it (HF_ENDPOINT for the Hub)"
	case errors.Is(err, transfer.ErrBadRedirect), errors.Is(err, transfer.ErrBadRange), errors.Is(err, transfer.ErrEncoded):
		return "a server, mirror or proxy on the way does not keep to HTTP: try another one, or download the file yourself and give its path"
	case transfer.IsCertificate(err):
		return "where a proxy of your company signs connections, add its certificate to the system's, or name it in SSL_CERT_FILE"
	case r.Kind == ref.File && errors.Is(err, fs.ErrNotExist):
		return pathAdvice(r)
	case r.Kind == ref.File && errors.Is(err, fs.ErrPermission):
		return "make the file readable for the user that runs this command"
	case r.Kind != ref.File && disk.IsPathError(err):
		return "make the store " + f.Store.Dir() + " a folder that this user can write, or set LLORCH_MODEL_DIR to one"
	case errors.As(err, &network):
		return networkAdvice(network)
	}
	// No advice is better than one that does not follow from the cause.
	return ""
}

// pathAdvice says what to do about a path that does not exist.
func pathAdvice(r Ref) string {
	if at, ok := ref.AsHub(r.Path); ok {
		return "check the path; the model of the Hub with this name is written " + at.Raw
	}
	return "check the path; a model of the Hub is written hf:ORG/REPO/FILE.gguf"
}

// networkAdvice says what to do about a conversation that broke, by how it did.
func networkAdvice(e *transfer.NetworkError) string {
	var name *net.DNSError
	switch {
	case errors.As(e, &name) && name.IsNotFound:
		return "check the name " + name.Name + ", and that this machine can look names up"
	case errors.Is(e, syscall.ECONNREFUSED):
		return "check that a server listens at " + e.Host + ", and that a proxy (HTTPS_PROXY, NO_PROXY) is set right"
	}
	return "check the network and the proxy (HTTPS_PROXY, NO_PROXY), then run the same command again; a download goes on from where it was"
}

// pageAdvice says what to do about a web page in the place of a file.
func (f *Fetcher) pageAdvice(r Ref) string {
	switch {
	case r.Kind == ref.HTTP && strings.Contains(r.URL, "/blob/"):
		return "that URL is the page about the file; write hf:ORG/REPO/FILE.gguf, or /resolve/ in the place of /blob/"
	case r.Kind == ref.HTTP:
		return "give the URL of the file itself, not of the page that links to it"
	case r.Kind == ref.Hub:
		return f.hub(r.Site).NotHubAdvice()
	}
	return notModelAdvice(r)
}

func notModelAdvice(r Ref) string {
	if r.Kind == ref.Hub {
		return "name a .gguf file of the repository; a repository without one has to be converted (convert_hf_to_gguf.py of llama.cpp)"
	}
	return "give a .gguf file; other formats have to be converted (convert_hf_to_gguf.py of llama.cpp)"
}

func (f *Fetcher) statusAdvice(r Ref, e *transfer.StatusError) string {
	if r.Kind == ref.Registry {
		return registry.Advice(e)
	}
	if r.Kind == ref.HTTP {
		switch {
		case transfer.IsTransient(e):
			return "run the same command again later; a download goes on from where it was"
		case e.Code == http.StatusUnauthorized, e.Code == http.StatusForbidden:
			return "the URL needs a login or has expired: get a fresh one, or download the file yourself and give its path"
		case e.Code == http.StatusNotFound, e.Code == http.StatusGone:
			return "check the URL"
		}
		return ""
	}
	return f.hub(r.Site).Advice(r, e)
}
