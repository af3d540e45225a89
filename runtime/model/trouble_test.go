package model

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
)

// TestFetchThroughTrouble breaks the network in many ways; each case ends with
// the right file or the right fault, and a fault leaves nothing at all.
func TestFetchThroughTrouble(t *testing.T) {
	t.Parallel()
	want := aModel(size, 1)
	get := http.MethodGet
	for name, c := range map[string]struct {
		prepare func(h *hub.Hub)
		ref     string
		token   string
		offline bool
		fails   []string // words of the fault; none for success
		waits   []time.Duration
		notes   string
	}{
		"nothing wrong":      {},
		"nested file":        {prepare: func(h *hub.Hub) { h.Add(aRepo, "a/b/m.gguf", want) }, ref: "hf:org/tiny/a/b/m.gguf"},
		"small file":         {prepare: func(h *hub.Hub) { h.AddPlain(aRepo, "s.gguf", want) }, ref: "hf:org/tiny/s.gguf"},
		"right hash":         {ref: aRef + "#sha256=" + sum(want)},
		"small, right hash":  {prepare: func(h *hub.Hub) { h.AddPlain(aRepo, "s.gguf", want) }, ref: "hf:org/tiny/s.gguf#sha256=" + sum(want)},
		"signed URLs expire": {prepare: func(h *hub.Hub) { h.SignOnce(); h.Break(hub.CDN, "", 2, hub.Cut(900_000)) }},
		"cut once":           {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", hub.Once, hub.Cut(1_000_000)) }, notes: "trying again"},
		"cut often, forward": {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", 20, hub.Cut(100_000)) }},
		"cut in the header":  {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", hub.Once, hub.Cut(5)) }},
		"hangs up":           {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", 3, hub.Drop()); h.Break(hub.Resolve, "", 2, hub.Drop()) }},
		"5xx for a while": {prepare: func(h *hub.Hub) {
			h.Break(hub.CDN, "", 3, hub.Status(503, ""))
			h.Break(hub.Resolve, "", 3, hub.Status(500, ""))
		}},
		"408":                 {prepare: func(h *hub.Hub) { h.Break(hub.Resolve, "", hub.Once, hub.Status(408, "")) }},
		"429 with RateLimit":  {prepare: func(h *hub.Hub) { h.Break(hub.Resolve, "", 1, hub.TooMany("RateLimit", `"api";r=0;t=55`)) }, waits: []time.Duration{56 * time.Second}},
		"429 with RetryAfter": {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", 1, hub.TooMany("Retry-After", "7")) }, waits: []time.Duration{7 * time.Second}},
		"ranges ignored":      {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", 1, hub.Cut(1<<20)); h.Break(hub.CDN, "", 1, hub.IgnoreRange()) }, notes: "starting again"},
		"wrong range once":    {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", 1, hub.WrongRange()) }},
		"416 once":            {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", 1, hub.Cut(1<<20)); h.Break(hub.CDN, "", 1, hub.RefuseRange()) }},
		"wrong bytes once":    {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", 1, hub.WrongBytes()) }, notes: "SHA-256 does not match"},
		"small, wrong once": {
			prepare: func(h *hub.Hub) {
				h.AddPlain(aRepo, "s.gguf", want)
				h.Break(hub.Resolve, get, 3, hub.WrongBytes()) // a redirect has no body to spoil
			}, ref: "hf:org/tiny/s.gguf", notes: "git hash does not match",
		},

		"wrong bytes always": {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", hub.Always, hub.WrongBytes()) }, fails: []string{"SHA-256 does not match", sum(want), "fetched twice"}},
		"cut always":         {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", hub.Always, hub.Cut(0)) }, fails: []string{"unexpected EOF", "HTTPS_PROXY"}},
		"wrong range always": {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", hub.Always, hub.WrongRange()) }, fails: []string{"another range"}},
		"416 always":         {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", hub.Always, hub.RefuseRange()) }, fails: []string{"another range"}},
		"5xx always":         {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", hub.Always, hub.Status(502, "")) }, fails: []string{"502", "later"}},
		"429 far too long":   {prepare: func(h *hub.Hub) { h.Break(hub.Resolve, "", 1, hub.TooMany("Retry-After", "7200")) }, fails: []string{"429", "2h0m0s"}},
		"403 by the CDN":     {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", hub.Always, hub.Status(403, "")) }, fails: []string{"403"}},
		"HTML as the file":   {prepare: func(h *hub.Hub) { h.Break(hub.CDN, "", hub.Always, hub.HTML()) }, fails: []string{"HTML page", `"Sign in"`}},
		"HTML as the Hub":    {prepare: func(h *hub.Hub) { h.Break(hub.Resolve, "", hub.Always, hub.HTML()) }, fails: []string{"HTML page", `"Sign in"`, "HF_ENDPOINT"}},
		"HTML as everything": {prepare: func(h *hub.Hub) {
			h.Break(hub.Resolve, "", hub.Always, hub.HTML())
			h.Break(hub.API, "", hub.Always, hub.HTML())
		}, fails: []string{"HTML page", `"Sign in"`, "HF_ENDPOINT"}},
		"HTML as the API, by quantisation": {prepare: func(h *hub.Hub) { h.Break(hub.API, "", hub.Always, hub.HTML()) }, ref: "hf:org/tiny:Q8_0", fails: []string{"does not answer as a Hub", `"Sign in"`, "HF_ENDPOINT"}},
		"no GGUF":                          {prepare: func(h *hub.Hub) { h.Add(aRepo, "m.gguf", []byte("PK\x03\x04 and more of it")) }, fails: []string{"zip archive"}},
		"unknown version":                  {prepare: func(h *hub.Hub) { h.Add(aRepo, "m.gguf", []byte("GGUF\x09\x00\x00\x00........")) }, fails: []string{"version 9"}},
		"empty":                            {prepare: func(h *hub.Hub) { h.Add(aRepo, "m.gguf", nil) }, fails: []string{"empty"}},
		"redirect loop":                    {prepare: func(h *hub.Hub) { h.Break(hub.Resolve, "", hub.Always, hub.Redirect("/loop")) }, fails: []string{"redirects"}},
		"wrong promised hash":              {ref: aRef + "#sha256=" + someSum, fails: []string{"SHA-256 on the Hub", sum(want), someSum}},
		"compressed": {
			prepare: func(h *hub.Hub) {
				h.Break(hub.CDN, "", hub.Always, hub.Header(map[string]string{"Content-Encoding": "gzip"}))
			},
			fails: []string{"Content-Encoding gzip", "does not keep to HTTP"},
		},
		"403 by a gateway":    {prepare: func(h *hub.Hub) { h.Break(hub.Resolve, "", hub.Always, hub.Status(403, "")) }, fails: []string{"403", "gives no reason"}},
		"missing repository":  {ref: "hf:org/none/m.gguf", fails: []string{"401", "RepoNotFound", "HF_TOKEN"}},
		"missing, with token": {ref: "hf:org/none/m.gguf", token: "t", fails: []string{"404", "RepoNotFound", "check that HF_TOKEN"}},
		"missing revision":    {ref: "hf:org/tiny@v9/m.gguf", fails: []string{"RevisionNotFound", `"v9"`}},
		"missing file":        {ref: "hf:org/tiny/n.gguf", fails: []string{"EntryNotFound", "nearest first: m.gguf"}},
		"private":             {prepare: func(h *hub.Hub) { h.Private(aRepo, "good") }, fails: []string{"401", "private", "HF_TOKEN"}},
		"private, with token": {prepare: func(h *hub.Hub) { h.Private(aRepo, "good") }, token: "good"},
		"gated":               {prepare: func(h *hub.Hub) { h.Gated(aRepo, "good") }, fails: []string{"GatedRepo", "accept the conditions", "HF_TOKEN"}},
		"gated, no access":    {prepare: func(h *hub.Hub) { h.Gated(aRepo, "good") }, token: "bad", fails: []string{"403", "has no access yet"}},
		"gated, with access":  {prepare: func(h *hub.Hub) { h.Gated(aRepo, "good") }, token: "good"},
		"offline":             {offline: true, fails: []string{"HF_HUB_OFFLINE"}},
	} {
		for _, way := range []string{"in one", "in pieces"} {
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				if way == "in pieces" {
					r.pieceFrom = 1
				}
				r.Environment.Token, r.Environment.Offline = c.token, c.offline
				r.hub.Add(aRepo, "m.gguf", want)
				if c.prepare != nil {
					c.prepare(r.hub)
				}
				ref := c.ref
				if ref == "" {
					ref = aRef
				}
				if c.fails == nil {
					if l := r.must(t, ref, want); l.Commit != r.hub.Commit(aRepo) {
						t.Errorf("commit %q", l.Commit)
					}
					if c.waits != nil && !slices.Equal(r.clock.all(), c.waits) {
						t.Errorf("waited %v, want %v", r.clock.all(), c.waits)
					}
					if c.notes != "" && way == "in one" && !r.events.said(c.notes) {
						t.Errorf("no note says %q: %q", c.notes, r.events.notes)
					}
				} else {
					_, err := r.fetch(t, ref)
					wantFault(t, err, fault.Model, c.fails...)
					if left := tree(t, r.Store.Dir()); len(left) > 0 {
						t.Errorf("left behind: %q", left)
					}
					if strings.Contains(fault.Report(err), "signature=") {
						t.Errorf("the fault shows a signed URL: %v", err)
					}
				}
				if r.events.open != 0 {
					t.Errorf("%d steps were not ended: %q", r.events.open, r.events.names)
				}
				for _, q := range r.hub.Requests() {
					if q.Place == hub.CDN && q.Authorization != "" {
						t.Errorf("the token went to the content network: %+v", q)
					}
					if q.Place != hub.CDN && c.token != "" && q.Authorization != "Bearer "+c.token {
						t.Errorf("the Hub did not get the token: %+v", q)
					}
				}
			})
		}
	}
}
