package app

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/llorch/llorch-bk/runtime/model/disk"
)

// What to do about a folder that cannot be used, beside freeing space or changing its
// permissions.
const (
	otherCache  = "set LLORCH_CACHE_DIR to another folder"
	otherModels = "set LLORCH_MODEL_DIR to another folder"
	otherTemp   = "set TMPDIR to another folder"
)

// registryAdvice says what to do about a failed request to a registry. It is empty if the
// cause is not known.
func registryAdvice(err error) string {
	var answer *transport.Error
	var cert *tls.CertificateVerificationError
	var network net.Error
	switch {
	case errors.As(err, &answer):
		return answerAdvice(answer.StatusCode)
	case errors.As(err, &cert):
		return "if your own CA signed the registry's certificate, name its file with --ca-cert"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "the registry has no TLS; if you trust the network, name it with --insecure-registry (build and verify)"
	case errors.As(err, &network):
		return "check the network and the proxy (HTTPS_PROXY, NO_PROXY)"
	}
	return ""
}

// answerAdvice says what to do about a registry's answer, by its HTTP status.
func answerAdvice(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "log in with docker login, with an account that has access to the repository"
	case status == http.StatusNotFound:
		return "check the name and the tag; if the repository is private, log in with docker login"
	case status == http.StatusTooManyRequests:
		return "wait a while, or log in with docker login for a higher limit"
	case status >= http.StatusInternalServerError:
		return "the registry has a problem of its own; try again later"
	}
	return ""
}

// diskAdvice says what to do about a failed operation in a folder. other is a further remedy,
// empty for none. The advice is empty if the cause is not known and there is no other remedy.
func diskAdvice(dir, other string, err error) string {
	do := ""
	switch {
	case disk.IsFull(err):
		do = "free space on the disk of " + dir
	case disk.IsReadOnly(err):
		do = "give this user access to " + dir
	case errors.Is(err, fs.ErrNotExist) && !pathExists(dir):
		do = "create the folder " + dir
	}
	switch {
	case do == "":
		return other
	case other == "":
		return do
	}
	return do + ", or " + other
}

func pathExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// inspectAdvice says what to do if the engine does not have the image that was just built.
func inspectAdvice(err error) string {
	if errdefs.IsNotFound(err) {
		return "make sure that --builder is a builder of the engine in DOCKER_HOST, or send the image elsewhere with --push or --output"
	}
	return ""
}
