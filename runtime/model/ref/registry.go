package ref

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

const (
	registryScheme = "oci://"
	// defaultOrg is where Docker Model Runner and llama.cpp's --docker-repo look for a
	// model whose name has no organisation.
	defaultOrg = "ai"
)

func parseRegistry(s string) (Ref, error) {
	bad := func(err error) (Ref, error) { return Ref{}, usage("model ref "+registryScheme+s, err) }
	if before, after, ok := strings.Cut(s, "@"); ok && (strings.Contains(after, "/") || strings.Contains(after, "@")) {
		// It looks like a user's name and password, which the error must not repeat.
		_, s, _ = strings.Cut(s[len(before):], "/")
		s = "…/" + s
		return bad(errors.New("a ref takes no login: use docker login"))
	}
	if strings.Contains(s, "#") {
		return bad(errors.New("the only fragment that a ref takes is #sha256=HEX"))
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return bad(err)
	}
	host, at := reference.Domain(named), reference.Path(named)
	if rest, ok := strings.CutPrefix(at, "library/"); ok && host == "docker.io" && !strings.Contains(s, "/") {
		at = defaultOrg + "/" + rest
	}
	r := Ref{Raw: registryScheme + s, Kind: Registry, Repo: host + "/" + at, Revision: "latest"}
	if t, ok := named.(reference.Tagged); ok {
		r.Revision = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		if d.Digest().Algorithm() != "sha256" {
			return bad(fmt.Errorf("digests of %s are not supported", d.Digest().Algorithm()))
		}
		r.Revision = d.Digest().Encoded()
	}
	return r, nil
}

// WithDigest is a Registry ref with the hex of its manifest's digest.
func (r Ref) WithDigest(digest string) string {
	return registryScheme + r.Repo + "@sha256:" + digest
}
