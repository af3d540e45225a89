package mirror

import (
	"cmp"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

const (
	// pageSize is the most entries of a listing in one answer, as on the Hub.
	pageSize = 1000
	// maxPathsBody bounds the body of a question for paths, in bytes.
	maxPathsBody = 1 << 20
)

// description is a repository as the Hub describes one.
type description struct {
	ID       string     `json:"id"`
	ModelID  string     `json:"modelId"`
	Author   string     `json:"author"`
	SHA      string     `json:"sha,omitempty"`
	Private  bool       `json:"private"`
	Gated    bool       `json:"gated"`
	Disabled bool       `json:"disabled"`
	Tags     []string   `json:"tags"`
	Siblings []*sibling `json:"siblings,omitempty"`
}

func (r repository) describe() description {
	return description{ID: r.name, ModelID: r.name, Author: r.author(), Tags: []string{"gguf"}}
}

// info describes a repository at a revision. The files have sizes and hashes where the
// request says blobs.
func (m *Mirror) info(w http.ResponseWriter, r *http.Request) {
	s, err := m.snapshot(r)
	if err != nil {
		refuse(w, err)
		return
	}
	d := s.describe()
	d.SHA = s.commit
	blobs, _ := strconv.ParseBool(r.URL.Query().Get("blobs"))
	for _, o := range s.files {
		if blobs {
			d.Siblings = append(d.Siblings, siblingOf(o))
		} else {
			d.Siblings = append(d.Siblings, &sibling{Name: o.Path})
		}
	}
	answer(w, d)
}

// list names the repositories, narrowed by search and author.
func (m *Mirror) list(w http.ResponseWriter, r *http.Request) {
	all, err := m.repositories(r)
	if err != nil {
		refuse(w, err)
		return
	}
	q := r.URL.Query()
	search, author := strings.ToLower(q.Get("search")), q.Get("author")
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 {
		limit = pageSize
	}
	out := []description{}
	for _, repo := range all {
		if len(out) == limit {
			break
		}
		if !strings.Contains(strings.ToLower(repo.name), search) || author != "" && !strings.EqualFold(author, repo.author()) {
			continue
		}
		d := repo.describe()
		d.SHA = repo.folder.CommitOf(ref.DefaultRevision)
		out = append(out, d)
	}
	answer(w, out)
}

// refInfo is a branch, tag or pull request.
type refInfo struct {
	Name         string `json:"name"`
	Ref          string `json:"ref"`
	TargetCommit string `json:"targetCommit"`
}

// refs are a repository's revisions. The store does not record which of them are tags, so
// all but pull requests are branches.
func (m *Mirror) refs(w http.ResponseWriter, r *http.Request) {
	repo, err := m.repository(r)
	if err != nil {
		refuse(w, err)
		return
	}
	branches, pulls := []refInfo{}, []refInfo{}
	for name, commit := range repo.folder.Revisions() {
		if len(repo.files(r.Context(), commit)) == 0 {
			continue
		}
		if strings.HasPrefix(name, "refs/") {
			pulls = append(pulls, refInfo{name, name, commit})
			continue
		}
		branches = append(branches, refInfo{name, "refs/heads/" + name, commit})
	}
	byName := func(a, b refInfo) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(branches, byName)
	slices.SortFunc(pulls, byName)
	out := map[string]any{"branches": branches, "converts": []refInfo{}, "tags": []refInfo{}}
	if r.URL.Query().Get("include_prs") != "" {
		out["pullRequests"] = pulls
	}
	answer(w, out)
}

// tree lists a folder of a revision, with all that is below it where the request says
// recursive, a page at a time.
func (m *Mirror) tree(w http.ResponseWriter, r *http.Request) {
	s, err := m.snapshot(r)
	if err != nil {
		refuse(w, err)
		return
	}
	under := strings.Trim(r.PathValue("path"), "/")
	recursive, _ := strconv.ParseBool(r.URL.Query().Get("recursive"))
	entries := s.below(under, recursive)
	if len(entries) == 0 {
		w.Header().Set("X-Repo-Commit", s.commit)
		refuse(w, &refusal{http.StatusNotFound, codeEntry, "The folder does not exist on this revision"})
		return
	}
	answer(w, page(w, r, entries))
}

// below are the entries of a folder, by path. Folder is empty for the root.
func (s snapshot) below(folder string, recursive bool) []treeEntry {
	prefix := ""
	if folder != "" {
		prefix = folder + "/"
	}
	found := map[string]treeEntry{}
	for _, o := range s.files {
		rest, ok := strings.CutPrefix(o.Path, prefix)
		if !ok {
			continue
		}
		if recursive || !strings.Contains(rest, "/") {
			found[o.Path] = entryOf(o)
		}
		for dir := path.Dir(rest); dir != "."; dir = path.Dir(dir) {
			if recursive || !strings.Contains(dir, "/") {
				found[prefix+dir] = s.folderEntry(prefix + dir)
			}
		}
	}
	out := make([]treeEntry, 0, len(found))
	for _, e := range found {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b treeEntry) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// folderEntry is a folder of a listing. Git's hash of it would need all of its files, and
// no client uses it, so it is only different for each folder.
func (s snapshot) folderEntry(dir string) treeEntry {
	return treeEntry{Type: "directory", OID: digest.NameOf(s.commit + "/" + dir), Path: dir}
}

// page is the part of a listing that a request asks for. Link names the next one.
func page(w http.ResponseWriter, r *http.Request, all []treeEntry) []treeEntry {
	q := r.URL.Query()
	size, err := strconv.Atoi(q.Get("limit"))
	if err != nil || size < 1 || size > pageSize {
		size = pageSize
	}
	from, _ := strconv.Atoi(q.Get("cursor"))
	from = min(max(from, 0), len(all))
	to := min(from+size, len(all))
	if to < len(all) {
		q.Set("cursor", strconv.Itoa(to))
		next := url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: q.Encode()}
		// The address that the client knows, which may be a proxy's, is the best base.
		w.Header().Set("Link", fmt.Sprintf("<%s://%s%s>; rel=\"next\"", scheme(r), r.Host, next.RequestURI()))
	}
	return all[from:to]
}

// scheme is the one that the client uses, as a proxy says it.
func scheme(r *http.Request) string {
	if s := r.Header.Get("X-Forwarded-Proto"); s == "http" || s == "https" {
		return s
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// pathsInfo describes the files and folders that a request names. It is a POST because
// the names can be many.
func (m *Mirror) pathsInfo(w http.ResponseWriter, r *http.Request) {
	s, err := m.snapshot(r)
	if err != nil {
		refuse(w, err)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxPathsBody)
	paths, err := wantedPaths(r)
	if err != nil {
		refuse(w, &refusal{http.StatusBadRequest, "", "The body must have paths, as a form or as JSON."})
		return
	}
	out := []treeEntry{}
	for _, p := range paths {
		p = strings.Trim(p, "/")
		if o, ok := s.find(p); ok {
			out = append(out, entryOf(o))
		} else if slices.ContainsFunc(s.files, func(o store.Offer) bool { return strings.HasPrefix(o.Path, p+"/") }) {
			out = append(out, s.folderEntry(p))
		}
	}
	answer(w, out)
}

// wantedPaths reads the names out of a body.
func wantedPaths(r *http.Request) ([]string, error) {
	kind, _, err := mime.ParseMediaType(cmp.Or(r.Header.Get("Content-Type"), "application/json"))
	if err != nil {
		return nil, err
	}
	if kind == "application/json" {
		var body struct {
			Paths []string `json:"paths"`
		}
		err := json.NewDecoder(r.Body).Decode(&body)
		return body.Paths, err
	}
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	return r.PostForm["paths"], nil
}
