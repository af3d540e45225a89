package mirror

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// repository is one of the Hub's that the store has files of.
type repository struct {
	name   string
	folder store.Folder
	mirror *Mirror
}

// snapshot is what the store has of a commit.
type snapshot struct {
	repository
	commit string
	files  []store.Offer
}

// repository is the one that a request names.
func (m *Mirror) repository(r *http.Request) (repository, error) {
	name := r.PathValue("org") + "/" + r.PathValue("name")
	missing := &refusal{http.StatusNotFound, codeRepo, "Repository not found"}
	at, err := ref.Repository(name, "")
	if err != nil {
		return repository{}, missing
	}
	repo := repository{name, m.Store.Folder(at), m}
	if !repo.offers(r.Context()) {
		return repository{}, missing
	}
	return repo, nil
}

// offers reports whether there is any file to take.
func (r repository) offers(ctx context.Context) bool {
	return slices.ContainsFunc(r.folder.Commits(), func(commit string) bool { return len(r.files(ctx, commit)) > 0 })
}

// files are what there is to take of a commit.
func (r repository) files(ctx context.Context, commit string) []store.Offer {
	return r.mirror.whole(r.folder, r.folder.Offers(ctx, commit))
}

// snapshot is what a request's repository has at the request's revision.
func (m *Mirror) snapshot(r *http.Request) (snapshot, error) {
	repo, err := m.repository(r)
	if err != nil {
		return snapshot{}, err
	}
	return repo.at(r.Context(), cmp.Or(r.PathValue("revision"), ref.DefaultRevision))
}

// at is what the store has of a revision.
func (r repository) at(ctx context.Context, revision string) (snapshot, error) {
	if _, err := ref.Repository(r.name, revision); err == nil {
		if commit := r.folder.CommitOf(revision); commit != "" {
			if files := r.files(ctx, commit); len(files) > 0 {
				return snapshot{r, commit, files}, nil
			}
		}
	}
	return snapshot{}, &refusal{http.StatusNotFound, codeRevision, "Invalid rev id: " + fault.Printable(revision)}
}

// find is the file with a path.
func (s snapshot) find(path string) (store.Offer, bool) {
	i := slices.IndexFunc(s.files, func(o store.Offer) bool { return o.Path == path })
	if i < 0 {
		return store.Offer{}, false
	}
	return s.files[i], true
}

// repositories are those that have a file to take, by name.
func (m *Mirror) repositories(r *http.Request) ([]repository, error) {
	names, err := m.Store.Repositories()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []repository
	for _, name := range names {
		at, err := ref.Repository(name, "")
		if err != nil {
			continue // another tool's folder
		}
		if repo := (repository{name, m.Store.Folder(at), m}); repo.offers(r.Context()) {
			out = append(out, repo)
		}
	}
	return out, nil
}

// author is the first half of a repository's name.
func (r repository) author() string {
	org, _, _ := strings.Cut(r.name, "/")
	return org
}
