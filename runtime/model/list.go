package model

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

const (
	maxPages    = 1000
	maxPageSize = 32 << 20
)

// RemoteFile is a file in a repository of the Hub.
type RemoteFile struct {
	// Path is slash-separated, from the repository's root.
	Path string
	// Size in bytes.
	Size int64
	// SHA256 in hex; empty for a small file that is not in LFS.
	SHA256 string
}

// Listing is what a revision of a repository has.
type Listing struct {
	// Commit is the revision's full commit.
	Commit string
	Files  []RemoteFile
}

// ListFiles lists a repository of the Hub, "org/name", at a revision. An empty
// revision is DefaultRevision.
func (f *Fetcher) ListFiles(ctx context.Context, repo, revision string) (Listing, error) {
	ref, err := repoRef(repo, revision)
	if err != nil {
		return Listing{}, err
	}
	l, err := f.list(ctx, ref, askRetries)
	if err != nil {
		return Listing{}, f.fault(ctx, ref, err)
	}
	return l, nil
}

// ResolvePattern gives the ref of the one file of a repository that a glob means
// (path.Match, against the path and against the bare name, in any case of
// letters). None and several are Model faults that list what there is.
func (f *Fetcher) ResolvePattern(ctx context.Context, repo, revision, glob string) (Ref, error) {
	if _, err := path.Match(glob, ""); err != nil {
		return Ref{}, fault.New(fault.Usage, fmt.Sprintf("model pattern %q", glob), err, "write a file name with * or ? in it, such as *Q4_K_M.gguf")
	}
	ref, err := repoRef(repo, revision)
	if err != nil {
		return Ref{}, err
	}
	l, err := f.list(ctx, ref, askRetries)
	if err != nil {
		return Ref{}, f.fault(ctx, ref, err)
	}
	var found []string
	for _, file := range l.Files {
		if matches(glob, file.Path) {
			found = append(found, file.Path)
		}
	}
	what := fmt.Sprintf("pattern %q in model repository %s", glob, repo)
	switch len(found) {
	case 0:
		e := &entryError{near: nearest(glob, l.Files)}
		return Ref{}, fault.New(fault.Model, what, errors.New("no file has such a name"), e.advice())
	case 1:
		return Parse(hubRaw(ref, found[0]))
	}
	return Ref{}, fault.New(fault.Model, what, fmt.Errorf("%d files have such a name", len(found)),
		"write a pattern that only one of these matches: "+strings.Join(found[:min(len(found), 8)], ", "))
}

func matches(glob, file string) bool {
	glob, file = strings.ToLower(glob), strings.ToLower(file)
	whole, _ := path.Match(glob, file)
	base, _ := path.Match(glob, path.Base(file))
	return whole || base
}

func hubRaw(ref Ref, file string) string {
	at := ""
	if ref.Revision != DefaultRevision {
		at = "@" + url.PathEscape(ref.Revision)
	}
	return "hf:" + ref.Repo + at + "/" + file
}

// repoRef is a ref to a repository as a whole, checked as Parse checks one.
func repoRef(repo, revision string) (Ref, error) {
	ref := Ref{Repo: repo, Revision: cmp.Or(revision, DefaultRevision)}
	ref, err := Parse(hubRaw(ref, "x"))
	if err != nil {
		return Ref{}, err
	}
	if ref.Repo != repo {
		return Ref{}, usage(fmt.Sprintf("%q is no repository of the Hub (ORG/REPO)", repo), nil)
	}
	ref.Raw, ref.File = strings.TrimSuffix(ref.Raw, "/x"), ""
	return ref, nil
}

func (f *Fetcher) list(ctx context.Context, ref Ref, retries uint64) (Listing, error) {
	if f.Environment.Offline {
		return Listing{}, errOffline
	}
	task := f.begin("list "+ref.Repo, 0)
	l, err := f.pages(ctx, ref, retries, task)
	task.End(err)
	return l, err
}

func (f *Fetcher) pages(ctx context.Context, ref Ref, retries uint64, task Task) (Listing, error) {
	api := f.Environment.Endpoint + "/api/models/" + ref.Repo
	var rev struct {
		SHA string `json:"sha"`
	}
	if _, err := f.getJSON(ctx, api+"/revision/"+url.PathEscape(ref.Revision), &rev, retries, task); err != nil {
		return Listing{}, err
	}
	if !hex40.MatchString(rev.SHA) {
		return Listing{}, fmt.Errorf("%s does not answer as a Hub does (no commit in its answer)", f.Environment.Endpoint)
	}
	l := Listing{Commit: rev.SHA}
	next := api + "/tree/" + rev.SHA + "?recursive=true"
	for range maxPages {
		var page []struct {
			Type string `json:"type"`
			Path string `json:"path"`
			Size int64  `json:"size"`
			LFS  *struct {
				OID string `json:"oid"`
			} `json:"lfs"`
		}
		more, err := f.getJSON(ctx, next, &page, retries, task)
		if err != nil {
			return Listing{}, err
		}
		for _, e := range page {
			if e.Type != "file" || !cleanRelative(e.Path) {
				continue
			}
			file := RemoteFile{Path: e.Path, Size: e.Size}
			if e.LFS != nil && hex64.MatchString(e.LFS.OID) {
				file.SHA256 = e.LFS.OID
			}
			l.Files = append(l.Files, file)
		}
		if more == "" {
			return l, nil
		}
		next = more
	}
	return Listing{}, fmt.Errorf("the listing has more than %d pages", maxPages)
}

// getJSON asks the Hub's API and gives the address of the next page, if any.
func (f *Fetcher) getJSON(ctx context.Context, address string, into any, retries uint64, task Task) (next string, err error) {
	asked, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("the Hub's address: %w", err)
	}
	err = f.retry(ctx, retries, task, func() (bool, error) {
		resp, err := f.transport().send(ctx, http.MethodGet, address, nil,
			func(_ *http.Response, to *url.URL) bool { return sameOrigin(to, asked) })
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false, failure(resp, address)
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxPageSize))
		if err != nil {
			return false, err
		}
		if err := json.Unmarshal(b, into); err != nil {
			return false, fmt.Errorf("%s does not answer as a Hub does: %w", asked.Host, err)
		}
		next, err = nextPage(resp.Header.Get("Link"), asked)
		return false, err
	})
	return next, err
}

var linkNext = regexp.MustCompile(`<([^<>]*)>\s*;(?:[^,<]*;)?\s*rel="?next"?(?:[\s;,]|$)`)

// nextPage reads a Link field's rel=next (RFC 8288). It must stay on the host
// that was asked, since the token goes with it.
func nextPage(link string, asked *url.URL) (string, error) {
	m := linkNext.FindStringSubmatch(link)
	if m == nil {
		return "", nil
	}
	u, err := asked.Parse(m[1])
	if err != nil || !sameOrigin(u, asked) {
		return "", fmt.Errorf("%s: the next page is on another host: %w", asked.Host, errRedirect)
	}
	return u.String(), nil
}

// entryError is a file that its repository does not have.
type entryError struct {
	error
	near []string
}

func (e *entryError) Unwrap() error { return e.error }

func (e *entryError) advice() string {
	if len(e.near) == 0 {
		return "the repository has no .gguf file at all; look for one whose name ends in -GGUF"
	}
	return "the repository has, nearest first: " + strings.Join(e.near, ", ")
}

// withNeighbours adds to a missing file's error what the repository has instead.
// Where that cannot be had the error stays as it is.
func (f *Fetcher) withNeighbours(ctx context.Context, ref Ref, err error) error {
	var s *statusError
	if !errors.As(err, &s) || s.reason != "EntryNotFound" {
		return err
	}
	l, lerr := f.list(ctx, ref, 1)
	if lerr != nil {
		return err
	}
	return &entryError{err, nearest(ref.File, l.Files)}
}

// nearest gives up to five .gguf names, the most similar to want first.
func nearest(want string, files []RemoteFile) []string {
	var names []string
	for _, f := range files {
		if strings.HasSuffix(strings.ToLower(f.Path), ".gguf") {
			names = append(names, f.Path)
		}
	}
	want = strings.ToLower(want)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(want, strings.ToLower(a)), distance(want, strings.ToLower(b))), cmp.Compare(a, b))
	})
	return names[:min(len(names), 5)]
}

// distance is the number of single letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
