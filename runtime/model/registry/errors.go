package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	registryauth "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// ErrNoLayer means that an artifact is not a model.
var ErrNoLayer = errors.New("it has no layer with a GGUF file")

// explain makes an error that transfer can judge of one of the registry library's.
func explain(ctx context.Context, host string, err error) error {
	var t *registryauth.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &t):
		s := &transfer.StatusError{Code: t.StatusCode, Host: host}
		if len(t.Errors) > 0 {
			s.Reason, s.Detail = fault.Printable(string(t.Errors[0].Code)), fault.Printable(t.Errors[0].Message)
		}
		return s
	case transfer.IsCertificate(err):
		return fmt.Errorf("%s: %w", host, err)
	}
	return &transfer.NetworkError{Host: host, Err: err}
}

// Advice says what to do about a registry's refusal.
func Advice(e *transfer.StatusError) string {
	switch {
	case e.Code == http.StatusTooManyRequests:
		return "wait a while, or log in (docker login): registries allow their users more"
	case transfer.IsTransient(e):
		return "run the same command again later; a download goes on from where it was"
	}
	return "check the name and the tag; a registry says the same of a missing repository and of a private one: if it is private, log in with docker login"
}
