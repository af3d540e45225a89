package model

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// resolveURL is where the Hub hands out a file of a revision.
func (f *Fetcher) resolveURL(repo, revision, file string) string {
	parts := strings.Split(file, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return f.Environment.Endpoint + "/" + repo + "/resolve/" + url.PathEscape(revision) + "/" + strings.Join(parts, "/")
}

// lookUp asks the Hub which commit a revision is and what the file in it hashes to.
func (f *Fetcher) lookUp(ctx context.Context, ref Ref, retries uint64, task Task) (src source, err error) {
	err = f.retry(ctx, retries, task, func() (bool, error) {
		src, err = f.head(ctx, ref)
		return false, err
	})
	return src, err
}

func (f *Fetcher) head(ctx context.Context, ref Ref) (source, error) {
	address := f.resolveURL(ref.Repo, ref.Revision, ref.File)
	asked, err := url.Parse(address)
	if err != nil {
		return source{}, fmt.Errorf("the Hub's address: %w", err)
	}
	// What describes the file stands on the Hub's own answers: on the redirect to
	// a content network, or, for a renamed repository, further down on this host.
	var commit, tag, size string
	note := func(resp *http.Response) {
		commit = first(commit, resp.Header.Get("X-Repo-Commit"))
		tag = first(tag, resp.Header.Get("X-Linked-Etag"))
		size = first(size, resp.Header.Get("X-Linked-Size"))
	}
	resp, err := f.transport().send(ctx, http.MethodHead, address, nil, func(resp *http.Response, to *url.URL) bool {
		note(resp)
		return sameOrigin(to, asked)
	})
	if err != nil {
		return source{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return source{}, failure(resp, address)
	}
	note(resp)
	if resp.StatusCode < 300 {
		tag = first(tag, resp.Header.Get("ETag"))
		// A redirect's own length is not the file's.
		if resp.ContentLength >= 0 {
			size = first(size, strconv.FormatInt(resp.ContentLength, 10))
		}
	}
	tag = strings.ToLower(strings.Trim(strings.TrimPrefix(tag, "W/"), `"`))
	n, ok := digits(size)
	if !hex40.MatchString(commit) || tag == "" || !ok {
		return source{}, fmt.Errorf("%s does not answer as a Hub does (no commit, hash or size in its answer)", asked.Host)
	}
	if n < headerSize {
		return source{}, checkHeader(make([]byte, n))
	}
	src := source{
		address: f.resolveURL(ref.Repo, commit, ref.File), commit: commit, size: n,
		want: expectation{sha256: ref.SHA256}, blob: tag, resumable: true,
	}
	switch {
	case hex64.MatchString(tag):
		if ref.SHA256 != "" && ref.SHA256 != tag {
			return source{}, &mismatchError{"SHA-256 on the Hub", ref.SHA256, tag}
		}
		src.want.sha256 = tag
	case hex40.MatchString(tag):
		src.want.git = tag
	default:
		src.blob = opaque(tag)
		src.resumable = ref.SHA256 != ""
	}
	return src, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
