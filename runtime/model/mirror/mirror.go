package mirror

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/llorch/llorch-bk/runtime/model/store"
)

// Mirror offers the Hub's models that a store has. Its fields are set before the first
// request.
type Mirror struct {
	// Store is read at each request: a model that is pulled now is offered at once.
	Store *store.Store
	// Token is the bearer token that each request must carry; empty for none.
	Token string
	// Saw is called when a request has been answered; nil where nobody wants to know.
	// Several goroutines may call it.
	Saw func(Request)
	// Withdrew is called when a file of the store turns out to be spoilt, and is offered
	// no more; nil where nobody wants to know. Several goroutines may call it.
	Withdrew func(path, why string)

	// mu guards known.
	mu    sync.Mutex
	known map[content]*trust
}

// Handler answers requests.
func (m *Mirror) Handler() http.Handler {
	// A path such as /api/models/resolve/x/revision/y would fit the patterns of two of
	// these, so each has a mux of its own.
	api, manifests, files := http.NewServeMux(), http.NewServeMux(), http.NewServeMux()
	const repo = "/api/models/{org}/{name}"
	api.HandleFunc("GET /api/models", m.list)
	api.HandleFunc("GET "+repo, m.info)
	api.HandleFunc("GET "+repo+"/revision/{revision}", m.info)
	api.HandleFunc("GET "+repo+"/refs", m.refs)
	api.HandleFunc("GET "+repo+"/tree/{revision}", m.tree)
	api.HandleFunc("GET "+repo+"/tree/{revision}/{path...}", m.tree)
	api.HandleFunc("POST "+repo+"/paths-info/{revision}", m.pathsInfo)
	api.HandleFunc("/", unknown)
	manifests.HandleFunc("GET /v2/{org}/{name}/manifests/{tag}", m.manifest)
	manifests.HandleFunc("/", unknown)
	files.HandleFunc("GET /{org}/{name}/resolve/{revision}/{path...}", m.file)
	files.HandleFunc("GET /{$}", m.about)
	files.HandleFunc("/", unknown)

	all := http.NewServeMux()
	all.Handle("/api/", api)
	all.Handle("/v2/", manifests)
	all.Handle("/", files)
	return m.watched(m.guarded(all))
}

// guarded lets requests through that carry the token.
func (m *Mirror) guarded(next http.Handler) http.Handler {
	if m.Token == "" {
		return next
	}
	// Hashes are compared, because a comparison of the words takes a time that depends on
	// their lengths.
	want := sha256.Sum256([]byte(m.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(given)))
		switch {
		case given == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="models"`)
			refuse(w, &refusal{http.StatusUnauthorized, codeGated, "Access to this mirror's models is restricted. Its token must be given."})
		case !strings.EqualFold(kind, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1:
			w.Header().Set("WWW-Authenticate", `Bearer realm="models", error="invalid_token"`)
			refuse(w, &refusal{http.StatusUnauthorized, "", "Invalid credentials in Authorization header"})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// unknown refuses what no other handler answers.
func unknown(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, &refusal{http.StatusMethodNotAllowed, "", "This mirror is read-only."})
		return
	}
	refuse(w, &refusal{http.StatusNotFound, "", "This mirror has no such page."})
}

// about tells a person what this address is.
func (m *Mirror) about(w http.ResponseWriter, r *http.Request) {
	all, err := m.repositories(r)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "A mirror of %d model repositories in the Hugging Face Hub's API (llorch-bk model serve).\nSet HF_ENDPOINT to this address to take models from it.\n", len(all))
	for _, repo := range all {
		fmt.Fprintln(w, repo.name)
	}
}
