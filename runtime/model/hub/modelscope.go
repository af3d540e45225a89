package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/ref"
)

// modelScopeFiles is ModelScope's answer about the files of a revision. Its own client,
// github.com/modelscope/modelscope_hub, asks the same and verifies files by Sha256.
type modelScopeFiles struct {
	Code    int
	Message string
	Data    struct {
		Files []struct {
			Path, Type, Sha256 string
			Size               int64
		}
		// LatestCommitter is the revision's last commit. Its id is empty in some answers.
		LatestCommitter struct{ ID string }
	}
}

// listModelScope asks by ModelScope's own protocol. A mirror of it may speak the Hugging
// Face Hub's instead, which is asked where the first is not known.
func (c *Client) listModelScope(ctx context.Context, r ref.Ref, retries uint64, note func(string)) (Listing, error) {
	l, err := c.listNative(ctx, r, retries, note)
	if err == nil || !isUnavailable(err) {
		return l, err
	}
	revisions := []string{r.Revision}
	if r.Revision == r.Site.DefaultRevision() {
		revisions = append(revisions, ref.DefaultRevision)
	}
	for _, revision := range revisions {
		var other error
		if l, other = c.list(ctx, r.Repo, revision, retries, note); other == nil {
			return l, nil
		}
		if isHubAnswer(other) {
			err = other
		}
		if s := status(other); s == nil || s.Reason != missingRevision {
			break
		}
	}
	return Listing{}, err
}

func (c *Client) listNative(ctx context.Context, r ref.Ref, retries uint64, note func(string)) (Listing, error) {
	var answer modelScopeFiles
	q := url.Values{"Revision": {r.Revision}, "Recursive": {"true"}}
	if _, err := c.getJSON(ctx, c.Endpoint+"/api/v1/models/"+r.Repo+"/repo/files?"+q.Encode(), &answer, retries, note); err != nil {
		return Listing{}, err
	}
	if answer.Code != http.StatusOK {
		return Listing{}, fmt.Errorf("%s refuses to list %s: %w", c.Endpoint, r.Repo, errors.New(fault.Printable(answer.Message)))
	}
	l := Listing{}
	switch id := strings.ToLower(answer.Data.LatestCommitter.ID); {
	case digest.IsSHA1(r.Revision):
		l.Commit = r.Revision
	case digest.IsSHA1(id):
		l.Commit = id
	}
	at := r.Revision
	if l.Commit != "" {
		at = l.Commit
	}
	l.base = c.Endpoint + "/models/" + r.Repo + "/resolve/" + url.PathEscape(at) + "/"
	for _, f := range answer.Data.Files {
		if f.Type != "tree" {
			l.add(f.Path, f.Size, true, strings.ToLower(f.Sha256), "")
		}
	}
	return l, nil
}
