package model

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// webRevision is the name under which a plain URL's last version is recorded.
const webRevision = "latest"

var errNoSize = errors.New("the server does not say how big the file is, so that a cut file could not be told from a whole one")

// probe asks a plain URL what it has, by a request for its first bytes: a signed
// URL is often good for a GET only, so there is no HEAD.
func (f *Fetcher) probe(ctx context.Context, ref Ref, retries uint64, task Task) (src source, err error) {
	err = f.retry(ctx, retries, task, func() (bool, error) {
		src, err = f.probeOnce(ctx, ref)
		return false, err
	})
	return src, err
}

func (f *Fetcher) probeOnce(ctx context.Context, ref Ref) (source, error) {
	h := http.Header{"Range": {fmt.Sprintf("bytes=0-%d", sniffSize-1)}}
	resp, err := f.transport().send(ctx, http.MethodGet, ref.URL, h, followAll)
	if err != nil {
		return source{}, err
	}
	defer resp.Body.Close()
	src := source{address: ref.URL, size: -1, byContent: true, want: expectation{sha256: ref.SHA256}}
	switch resp.StatusCode {
	case http.StatusPartialContent:
		r, ok := parseContentRange(resp.Header.Get("Content-Range"))
		if !ok || r.first != 0 {
			return source{}, errBadRange
		}
		src.size = r.total
	case http.StatusOK:
		src.size = resp.ContentLength
	case http.StatusRequestedRangeNotSatisfiable:
		return source{}, fmt.Errorf("it is empty: %w", errNotModel)
	default:
		return source{}, failure(resp, ref.URL)
	}
	head, err := readHeader(resp.Body)
	if err != nil {
		return source{}, err
	}
	if isHTML(resp.Header.Get("Content-Type"), head) {
		return source{}, fmt.Errorf("it is an HTML page: %w", errNotModel)
	}
	if err := checkHeader(head); err != nil {
		return source{}, err
	}
	if src.size < 0 && ref.SHA256 == "" {
		return source{}, errNoSize
	}
	src.validator = validator(resp.Header)
	src.resumable = src.size >= 0 && (ref.SHA256 != "" || src.validator != "")
	switch {
	case ref.SHA256 != "":
		src.commit = ref.SHA256
	case src.validator != "":
		src.commit = opaque(src.validator)
	default:
		// Nothing tells one version from the next but its size.
		src.commit = fmt.Sprintf("size-%d", src.size)
	}
	src.blob = src.commit
	return src, nil
}

// validator is what a later If-Range may say: a strong ETag, else the date of
// the last change.
func validator(h http.Header) string {
	if e := h.Get("ETag"); e != "" {
		if strings.HasPrefix(e, `"`) {
			return e
		}
		return ""
	}
	return h.Get("Last-Modified")
}

// opaque is a file name for a word of a server's.
func opaque(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:20])
}

// webName is the file name that a URL's content gets in the store.
func webName(address string) string {
	var name string
	if u, err := url.Parse(address); err == nil {
		name = path.Base(u.Path)
	}
	name = strings.Map(func(r rune) rune {
		if isName("x" + string(r)) {
			return r
		}
		return '_'
	}, strings.TrimSuffix(name, "/"))
	if len(name) > 100 {
		name = name[len(name)-100:]
	}
	// No hidden file, and none that a tool takes for a flag.
	if name = strings.TrimLeft(name, ".-"); name == "" {
		return "model.gguf"
	}
	return name
}

func (f *Fetcher) fromWeb(ctx context.Context, ref Ref) (Local, error) {
	name := webName(ref.URL)
	if s, ok := shardOf(name); ok && s.count > 1 {
		return Local{}, errSharded
	}
	d := f.Store.webFolder(ref.URL, name)
	commit := ref.SHA256
	if commit == "" {
		commit = d.commitOf(webRevision)
	} else if _, _, have := d.stored(commit, name); !have && d.hasBlob(commit) {
		// Fetched without a hash before: the content is known by its own.
		return f.linked(ctx, ref, d, source{commit: commit}, webRevision, name, commit)
	}
	_, _, have := d.stored(commit, name)
	if have && ref.SHA256 != "" {
		return f.local(ctx, ref, d, commit, name)
	}
	if f.Environment.Offline && !have {
		return Local{}, errOffline
	}
	task := f.begin("look up "+ref.Raw, 0)
	if f.Environment.Offline {
		task.Note("offline: using the copy in the store")
		task.End(nil)
		return f.local(ctx, ref, d, commit, name)
	}
	retries := uint64(askRetries)
	if have {
		retries = 1
	}
	src, err := f.probe(ctx, ref, retries, task)
	if err != nil && have && transient(err) && ctx.Err() == nil {
		task.Note(fmt.Sprintf("%v; using the copy in the store", err))
		task.End(nil)
		return f.local(ctx, ref, d, commit, name)
	}
	if err == nil && src.want.none() {
		task.Note("the ref has no #sha256: the file is not verified against anything")
	}
	task.End(err)
	if err != nil {
		return Local{}, err
	}
	src.model = &Header{Ref: ref, Size: src.size}
	return f.obtain(ctx, ref, d, src, webRevision, name)
}
