package model

import (
	"net/http"
	"testing"

	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
)

func TestModelScope(t *testing.T) {
	t.Parallel()
	want, other := aModel(size, 51), aModel(size, 52)
	for name, c := range map[string]struct {
		prepare  func(r *rig)
		noCommit bool
	}{
		"its own protocol":             {func(r *rig) { r.Environment.ModelScope = r.hub.ModelScope() }, false},
		"a listing without its commit": {func(r *rig) { r.Environment.ModelScope = r.hub.ModelScope(); r.hub.NoCommitter() }, true},
		"a mirror that is a Hub":       {func(r *rig) { r.Environment.ModelScope = r.hub.Endpoint() }, false},
		"for a token": {func(r *rig) {
			r.Environment.ModelScope, r.Environment.ModelScopeToken = r.hub.ModelScope(), "good"
			r.Environment.Token = "bad"
			r.hub.Private(aRepo, "good")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.hub.Add(aRepo, "sub/m-Q8_0.gguf", want)
			r.hub.Add(aRepo, "sub/m-Q4_0.gguf", other)
			r.hub.Name(aRepo, "v1")
			c.prepare(r)
			for _, raw := range []string{"ms:org/tiny:Q8_0", "ms://org/tiny/sub/m-Q8_0.gguf", "https://www.modelscope.cn/models/org/tiny/resolve/master/sub/m-Q8_0.gguf", "ms:org/tiny:Q8_0@v1"} {
				l := r.must(t, raw, want)
				if known := l.Commit == r.hub.Commit(aRepo); known == c.noCommit || !known && l.Commit != "" {
					t.Errorf("%s: commit %q", raw, l.Commit)
				}
			}
			r.must(t, "ms:org/tiny:Q4_0", other)
			if r.events.said("not verified") {
				t.Errorf("notes: %q", r.events.notes)
			}
			next := r.again()
			next.must(t, "ms:org/tiny:Q8_0", want)
			if next.downloaded() {
				t.Errorf("fetched again: %q", next.events.names)
			}
			for _, m := range list(t, r) {
				if wrong, err := r.Verify(t.Context(), m); err != nil || len(wrong) > 0 {
					t.Errorf("verify: %q, %v", wrong, err)
				}
				if _, err := r.fetch(t, m.Ref); err != nil {
					t.Errorf("%s does not fetch the model: %v", m.Ref, err)
				}
			}
			// A new version is noticed.
			r.hub.Add(aRepo, "sub/m-Q8_0.gguf", other)
			r.must(t, "ms:org/tiny:Q8_0", other)
		})
	}
}

// Two sites can have two repositories of one name.
func TestTwoSites(t *testing.T) {
	t.Parallel()
	r, scope := newRig(t), hub.New(t)
	one, two := aModel(size, 53), aModel(size, 54)
	r.hub.Add(aRepo, "m.gguf", one)
	scope.Add(aRepo, "m.gguf", two)
	r.Environment.ModelScope, r.Environment.Token = scope.ModelScope(), "hub's"
	hf, ms := r.must(t, aRef, one), r.must(t, "ms:org/tiny/m.gguf", two)
	if hf.Dir == ms.Dir {
		t.Errorf("both are in %s", hf.Dir)
	}
	for word, n := range map[string]int{"hf:org/tiny": 1, "ms:org/tiny": 1, "m.gguf": 2, "https://modelscope.cn/models/org/tiny": 1} {
		if found, err := r.Store.Find(word); err != nil || len(found) != n {
			t.Errorf("%s: %q, %v", word, refs(found), err)
		}
	}
	for _, q := range scope.Requests() {
		if q.Authorization != "" {
			t.Errorf("the Hub's token went to ModelScope: %+v", q)
		}
	}
	id, err := r.Identify(t.Context(), parse(t, "ms:org/tiny/m.gguf"))
	if err != nil || parse(t, "ms:org/tiny/m.gguf").Pinned(id) != "ms:org/tiny@"+scope.Commit(aRepo)+"/m.gguf#sha256="+sum(two) {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestModelScopeRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hub.Add(aRepo, "m-Q8_0.gguf", aModel(size, 55))
	r.Environment.ModelScope = r.hub.ModelScope()
	for raw, words := range map[string][]string{
		"ms:org/none/m.gguf":                 {"404", "/models/org/none"},
		"ms:org/none:Q8_0":                   {"404"},
		"ms:org/tiny:Q4_0":                   {"no model quantised as Q4_0", "Q8_0"},
		"ms:org/tiny/n.gguf":                 {"no file n.gguf", "nearest first: m-Q8_0.gguf"},
		"ms:org/tiny:Q8_0#sha256=" + someSum: {someSum},
	} {
		_, err := r.fetch(t, raw)
		wantFault(t, err, fault.Model, words...)
	}
	r.hub.Break(hub.API, "", hub.Always, hub.HTML())
	r.hub.Break(hub.Resolve, "", hub.Always, hub.HTML())
	_, err := r.fetch(t, "ms:org/tiny:Q8_0")
	wantFault(t, err, fault.Model, "does not answer as a Hub", `"Sign in"`, "MODELSCOPE_ENDPOINT")
}

func TestModelScopeTriesAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hub.Add(aRepo, "m-Q8_0.gguf", aModel(size, 55))
	r.Environment.ModelScope = r.hub.ModelScope()
	r.hub.Break(hub.API, "", 1, hub.Status(http.StatusBadGateway, ""))
	r.must(t, "ms:org/tiny:Q8_0", aModel(size, 55))
}
