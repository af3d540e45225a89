package mirror

import (
	"encoding/json"
	"errors"
	"net/http"
)

// The values of X-Error-Code that the Hub's clients know.
const (
	codeRepo     = "RepoNotFound"
	codeRevision = "RevisionNotFound"
	codeEntry    = "EntryNotFound"
	codeGated    = "GatedRepo"
)

// refusal is an answer that is no success.
type refusal struct {
	status int
	// code is for X-Error-Code; empty for none.
	code    string
	message string
}

func (r *refusal) Error() string { return r.message }

// refuse answers with an error as the Hub does. What is no refusal is a fault of the
// store's, whose text may name paths of this machine and so is not sent.
func refuse(w http.ResponseWriter, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{http.StatusInternalServerError, "", "The store cannot be read."}
	}
	h := w.Header()
	if r.code != "" {
		h.Set("X-Error-Code", r.code)
	}
	h.Set("X-Error-Message", r.message)
	h.Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(r.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": r.message})
}

// answer sends a value as JSON.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}
