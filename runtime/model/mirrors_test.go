package model

import (
	"crypto/md5"  //nolint:gosec // what some mirrors name files by
	"crypto/sha1" //nolint:gosec // as above
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
)

func quoted(sum []byte) string { return `"` + hex.EncodeToString(sum) + `"` }

func md5Tag(b []byte) string {
	s := md5.Sum(b) //nolint:gosec // as above
	return quoted(s[:])
}

func sha1Tag(b []byte) string {
	s := sha1.Sum(b) //nolint:gosec // as above
	return quoted(s[:])
}

// downloaded reports whether a rig's last fetches took a file's bytes.
func (r *rig) downloaded() bool {
	return slices.ContainsFunc(r.events.names, func(n string) bool { return strings.HasPrefix(n, "download ") })
}

// Commit, hash and size come from whichever of a hub's answers has them: the listing, the
// file's own address, its redirect, or the content network. What is fetched is right, is
// called right, and is not fetched twice.
func TestEveryFactFromEverySource(t *testing.T) {
	t.Parallel()
	want := aModel(size, 41)
	without := func(fields ...string) func(h *hub.Hub) {
		gone := map[string]string{}
		for _, f := range fields {
			gone[f] = ""
		}
		return func(h *hub.Hub) { h.Break(hub.Resolve, "", hub.Always, hub.Header(gone)) }
	}
	linked := func(tag string) func(h *hub.Hub) {
		return func(h *hub.Hub) {
			h.Break(hub.Resolve, "", hub.Always, hub.Header(map[string]string{"X-Linked-Etag": tag}))
		}
	}
	noHead := func(code int) func(h *hub.Hub) {
		return func(h *hub.Hub) { h.Break(hub.Resolve, http.MethodHead, hub.Always, hub.Status(code, "")) }
	}
	own := func(etag func([]byte) string) func(h *hub.Hub) { return func(h *hub.Hub) { h.OwnETags(etag) } }
	noAPI := func(h *hub.Hub) { h.Break(hub.API, "", hub.Always, hub.Status(http.StatusNotFound, "")) }
	const commit, hash, length = "X-Repo-Commit", "X-Linked-Etag", "X-Linked-Size"
	for name, c := range map[string]struct {
		prepare []func(h *hub.Hub)
		// Not verified, the commit not known, and fetched again each time.
		unverified, noCommit, again bool
	}{
		"as it is":                     {},
		"no commit":                    {prepare: []func(*hub.Hub){without(commit)}},
		"no hash":                      {prepare: []func(*hub.Hub){without(hash)}},
		"no size":                      {prepare: []func(*hub.Hub){without(length)}},
		"nothing beside the redirect":  {prepare: []func(*hub.Hub){without(commit, hash, length)}},
		"weak hash":                    {prepare: []func(*hub.Hub){linked(`W/"` + sum(want) + `"`)}},
		"hash without quotes":          {prepare: []func(*hub.Hub){linked(strings.ToUpper(sum(want)))}},
		"HEAD 400":                     {prepare: []func(*hub.Hub){noHead(400)}},
		"HEAD 403":                     {prepare: []func(*hub.Hub){noHead(403)}},
		"HEAD 405":                     {prepare: []func(*hub.Hub){noHead(405)}},
		"HEAD 501":                     {prepare: []func(*hub.Hub){noHead(501)}},
		"own MD5":                      {prepare: []func(*hub.Hub){own(md5Tag)}},
		"own SHA-1":                    {prepare: []func(*hub.Hub){own(sha1Tag)}},
		"own SHA-256 of another thing": {prepare: []func(*hub.Hub){own(func([]byte) string { return `"` + someSum + `"` })}},
		"own weak":                     {prepare: []func(*hub.Hub){own(func([]byte) string { return `W/"1"` })}},
		"own and none":                 {prepare: []func(*hub.Hub){own(func([]byte) string { return "" })}},
		"own MD5, HEAD 405":            {prepare: []func(*hub.Hub){own(md5Tag), noHead(405)}},
		"a tree and no revision":       {prepare: []func(*hub.Hub){without(hash), func(h *hub.Hub) { h.Break(hub.API, "", 1, hub.Status(404, "")) }}},
		"text/html": {prepare: []func(*hub.Hub){func(h *hub.Hub) {
			h.Break(hub.CDN, "", hub.Always, hub.Header(map[string]string{"Content-Type": "text/html"}))
		}}},

		"no API":                 {prepare: []func(*hub.Hub){noAPI}},
		"no API, HTML instead":   {prepare: []func(*hub.Hub){func(h *hub.Hub) { h.Break(hub.API, "", hub.Always, hub.HTML()) }, without(commit)}, noCommit: true},
		"no API, no commit":      {prepare: []func(*hub.Hub){noAPI, without(commit)}, noCommit: true},
		"no API, no size":        {prepare: []func(*hub.Hub){noAPI, without(length)}},
		"no API, no hash":        {prepare: []func(*hub.Hub){noAPI, without(hash)}, unverified: true},
		"no API, only the bytes": {prepare: []func(*hub.Hub){noAPI, without(commit, hash, length)}, unverified: true, noCommit: true},
		"no API, HEAD 405":       {prepare: []func(*hub.Hub){noAPI, noHead(405)}},
		"no API, own MD5":        {prepare: []func(*hub.Hub){noAPI, own(md5Tag)}, unverified: true},
		"no API, own SHA-1":      {prepare: []func(*hub.Hub){noAPI, own(sha1Tag)}, unverified: true},
		"no API, own weak":       {prepare: []func(*hub.Hub){noAPI, own(func([]byte) string { return `W/"1"` })}, unverified: true},
		"no API, own MD5, no commit": {
			prepare: []func(*hub.Hub){noAPI, own(md5Tag), without(commit)}, unverified: true, noCommit: true,
		},
		"no API, own weak, no commit": {
			prepare: []func(*hub.Hub){noAPI, own(func([]byte) string { return `W/"1"` }), without(commit)}, unverified: true, noCommit: true, again: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.hub.Add(aRepo, "m.gguf", want)
			for _, prepare := range c.prepare {
				prepare(r.hub)
			}
			l := r.must(t, aRef, want)
			if known := l.Commit == r.hub.Commit(aRepo); known == c.noCommit || !known && l.Commit != "" {
				t.Errorf("commit %q", l.Commit)
			}
			if said := r.events.said("not verified"); said != c.unverified {
				t.Errorf("unverified %t: %q", said, r.events.notes)
			}
			next := r.again()
			if l := next.must(t, aRef, want); l.Content() != sum(want) {
				t.Errorf("content %q", l.Content())
			}
			if next.downloaded() != c.again {
				t.Errorf("fetched again: %t: %q", next.downloaded(), next.events.names)
			}
			for _, m := range list(t, r) {
				if wrong, err := r.Verify(t.Context(), m); err != nil || len(wrong) > 0 {
					t.Errorf("verify: %q, %v", wrong, err)
				}
				// What ls shows fetches the model.
				r.must(t, m.Ref, want)
			}
			// The hub is gone: what is here is served.
			off := r.again()
			off.Environment.Offline = true
			off.must(t, aRef, want)
		})
	}
}

// A small file that is in no LFS has a git hash, which the listing alone vouches for.
func TestGitHashFromListing(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 42)
	r.hub.AddPlain(aRepo, "m.gguf", want)
	r.must(t, aRef, want)
	if r.events.said("not verified") {
		t.Errorf("notes: %q", r.events.notes)
	}
	next := newRig(t)
	next.hub.AddPlain(aRepo, "m.gguf", want)
	next.hub.Break(hub.API, "", hub.Always, hub.Status(http.StatusNotFound, ""))
	next.must(t, aRef, want)
	if !next.events.said("not verified") {
		t.Errorf("an ETag of 40 digits was taken for a git hash: %q", next.events.notes)
	}
}

// A model by its quantisation needs a listing, which has all that is to be known.
func TestByListingAlone(t *testing.T) {
	t.Parallel()
	r, want := newRig(t), aModel(size, 43)
	r.hub.Add(aRepo, "m-Q8_0.gguf", want)
	r.hub.Name(aRepo, "refs/pr/1")
	for _, ref := range []string{"hf:org/tiny:Q8_0", "hf:org/tiny@refs/pr/1:Q8_0", "org/tiny:Q8_0"} {
		r.must(t, ref, want)
	}
	for _, q := range r.hub.Requests() {
		if q.Place == hub.Resolve && q.Method == http.MethodHead {
			t.Errorf("%+v", q)
		}
	}
	// Without one, the file has to be named.
	none := newRig(t)
	none.hub.Add(aRepo, "m-Q8_0.gguf", want)
	none.hub.Break(hub.API, "", hub.Always, hub.Status(http.StatusNotFound, ""))
	_, err := none.fetch(t, "hf:org/tiny:Q8_0")
	wantFault(t, err, fault.Model, "does not list", "hf:ORG/REPO/FILE.gguf")
	none.must(t, "hf:org/tiny/m-Q8_0.gguf", want)
	if id, err := none.Identify(t.Context(), parse(t, "hf:org/tiny/m-Q8_0.gguf")); err != nil || id.Files[0].SHA256 != sum(want) {
		t.Errorf("%+v, %v", id, err)
	}
}

// The commit of a repository moves without its model: the content is what it was.
func TestContentSurvivesCommits(t *testing.T) {
	t.Parallel()
	r, parts := shardedRig(t, shard1, shard2, shard3)
	fetch := func(ref string) Local {
		l, err := r.fetch(t, ref)
		if err != nil {
			t.Fatal(fault.Report(err))
		}
		return l
	}
	one, several := fetch("hf:org/tiny:Q8_0"), fetch("hf:org/tiny:Q4_K_M")
	r.hub.AddPlain(aRepo, "README.md", []byte("# news"))
	oneNow, severalNow := fetch("hf:org/tiny:Q8_0"), fetch("hf:org/tiny:Q4_K_M")
	if one.Path == oneNow.Path || one.Content() == "" || one.Content() != oneNow.Content() {
		t.Errorf("in one file: %q became %q", one.Content(), oneNow.Content())
	}
	if several.Path == severalNow.Path || several.Content() == "" || several.Content() != severalNow.Content() || several.Content() == one.Content() {
		t.Errorf("in several files: %q became %q", several.Content(), severalNow.Content())
	}
	// Any of the files makes the model another one.
	changed := slices.Clone(parts[shard3])
	changed[len(changed)-1] ^= 1
	r.hub.Add(aRepo, shard3, changed)
	now := fetch("hf:org/tiny:Q4_K_M")
	if now.Content() == several.Content() {
		t.Error("a changed part leaves the content")
	}
	r.Environment.Offline = true
	if off := fetch("hf:org/tiny:Q4_K_M"); off.Content() != now.Content() {
		t.Errorf("offline: %q", off.Content())
	}
}

// The files of a model in several are beside one another, also where no commit puts them
// there.
func TestShardsWithoutCommit(t *testing.T) {
	t.Parallel()
	weak := func([]byte) string { return `W/"1"` }
	for name, c := range map[string]struct {
		prepare func(r *rig)
		again   bool
	}{
		"ModelScope": {func(r *rig) { r.Environment.ModelScope = r.hub.ModelScope(); r.hub.NoCommitter() }, false},
		"a mirror with hashes": {func(r *rig) {
			r.hub.Break(hub.API, "", hub.Always, hub.Status(http.StatusNotFound, ""))
			r.hub.Break(hub.Resolve, "", hub.Always, hub.Header(map[string]string{"X-Repo-Commit": ""}))
		}, false},
		"a mirror with the bytes alone": {func(r *rig) {
			r.hub.Break(hub.API, "", hub.Always, hub.Status(http.StatusNotFound, ""))
			r.hub.Break(hub.Resolve, "", hub.Always, hub.Header(map[string]string{"X-Repo-Commit": ""}))
			r.hub.OwnETags(weak)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, parts := shardedRig(t, shard1, shard2, shard3)
			c.prepare(r)
			raw := "hf:org/tiny/" + shard1
			if name == "ModelScope" {
				raw = "ms:org/tiny/" + shard1
			}
			l, err := r.fetch(t, raw)
			if err != nil {
				t.Fatal(fault.Report(err))
			}
			for file, want := range parts {
				got, err := os.ReadFile(filepath.Join(filepath.Dir(l.Path), filepath.Base(file)))
				if err != nil || sum(got) != sum(want) {
					t.Errorf("%s: %d bytes, %v", file, len(got), err)
				}
			}
			next := r.again()
			same, err := next.fetch(t, raw)
			if err != nil || same.Content() != l.Content() || next.downloaded() != c.again {
				t.Errorf("again: %v, %q", err, next.events.names)
			}
		})
	}
}

// A URL of the Hub is the ref that it means: verified, pinned, and asked with the token.
func TestHubURL(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/resolve/main/sub/m.gguf?download=true", "/blob/main/sub/m.gguf", "/raw/main/sub/m.gguf"} {
		r, want := newRig(t), aModel(size, 44)
		r.hub.Add(aRepo, "sub/m.gguf", want)
		r.hub.Private(aRepo, "good")
		r.Environment.Token = "good"
		l := r.must(t, r.hub.Endpoint()+"/org/tiny"+path, want)
		if l.Commit != r.hub.Commit(aRepo) || l.Ref.Raw != "hf:org/tiny/sub/m.gguf" || r.events.said("not verified") {
			t.Errorf("%s: %+v, %q", path, l, r.events.notes)
		}
		asked := len(r.hub.Requests())
		r.must(t, "hf:org/tiny@"+l.Commit+"/sub/m.gguf", want)
		if len(r.hub.Requests()) != asked {
			t.Errorf("%s: the pinned ref asks", path)
		}
		id, err := r.Identify(t.Context(), parse(t, r.hub.Endpoint()+"/org/tiny"+path))
		if err != nil || id.Commit != l.Commit {
			t.Errorf("%s: %+v, %v", path, id, err)
		}
	}
	// A hub that HF_ENDPOINT does not name is a web server, whose hash is believed of its
	// own file.
	r, want := newRig(t), aModel(size, 45)
	r.hub.Add(aRepo, "m.gguf", want)
	r.Environment.Endpoint = "http://127.0.0.1:1"
	url := r.hub.Endpoint() + "/org/tiny/resolve/main/m.gguf"
	if l := r.must(t, url, want); l.Commit != "" || r.events.said("not verified") {
		t.Errorf("%+v, %q", l, r.events.notes)
	}
	if next := r.again(); next.must(t, url, want).SHA256 != sum(want) || next.downloaded() {
		t.Errorf("fetched again: %q", next.events.names)
	}
	r.hub.Add(aRepo, "m.gguf", aModel(size, 46))
	r.must(t, url, aModel(size, 46))
	_, err := r.fetch(t, url+"#sha256="+someSum)
	wantFault(t, err, fault.Model, someSum)
}
