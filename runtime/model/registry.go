package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	registryauth "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	registryScheme = "oci://"
	registryPrefix = "oci--"
	// defaultOrg is where Docker Model Runner and llama.cpp's --docker-repo look for a
	// model whose name has no other.
	defaultOrg = "ai"
)

// The types of a layer that is a model in GGUF: Docker's model-spec (also those of
// its first version) and CNCF's ModelPack.
var ggufLayers = map[string]bool{
	"application/vnd.docker.ai.gguf.v3":            true,
	"application/vnd.docker.ai.gguf":               true,
	"application/vnd.docker.ai.model.file.v1+gguf": true,
	"application/vnd.cncf.model.weight.v1.gguf":    true,
	"application/vnd.cncf.model.weight.gguf":       true,
}

// What says a layer's file name, in this order.
var layerNames = []string{"org.cncf.model.filepath", "org.opencontainers.image.title"}

func parseRegistry(s string) (Ref, error) {
	bad := func(err error) (Ref, error) { return Ref{}, usage("model ref "+registryScheme+s, err) }
	if before, after, ok := strings.Cut(s, "@"); ok && (strings.Contains(after, "/") || strings.Contains(after, "@")) {
		// It looks like a user's name and password, which must not be repeated.
		_, s, _ = strings.Cut(s[len(before):], "/")
		s = "…/" + s
		return bad(errors.New("a login is none of a ref's: use docker login"))
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
			return bad(fmt.Errorf("a digest of %s is not known here", d.Digest().Algorithm()))
		}
		r.Revision = d.Digest().Encoded()
	}
	return r, nil
}

// pinned is a registry's ref with the digest of its manifest.
func (r Ref) pinned(digest string) string {
	return registryScheme + r.Repo + "@sha256:" + digest
}

// registryName is the file name that a model of a repository has in the store.
func registryName(repo string) string {
	base := path.Base(repo)
	return base[:min(len(base), 100)]
}

// fromRegistry gets a model that a container registry has.
func (f *Fetcher) fromRegistry(ctx context.Context, ref Ref) (Local, error) {
	d := f.Store.registryFolder(ref.Repo)
	commit := d.commitOf(ref.Revision)
	here, have := f.inSnapshot(ref, d, commit)
	present := func() (Local, error) {
		found := make([]located, len(here))
		for i, at := range here {
			var err error
			if at.local, err = f.local(ctx, at.ref, d, commit, at.ref.File); err != nil {
				return Local{}, err
			}
			found[i] = at
		}
		return f.obtainAll(ctx, ref, d, found)
	}
	if have && commit == ref.Revision {
		return present()
	}
	if f.Environment.Offline && !have {
		return Local{}, errOffline
	}
	task := f.begin("look up "+ref.Raw, 0)
	if f.Environment.Offline {
		task.Note(fmt.Sprintf("offline: using %.12s, which %s was when it was last asked", commit, ref.Revision))
		task.End(nil)
		return present()
	}
	retries := uint64(askRetries)
	if have {
		retries = 1 // there is something to fall back on
	}
	var found []located
	err := f.retry(ctx, retries, task, func() (_ bool, err error) {
		found, err = f.ask(ctx, ref)
		return false, err
	})
	if err != nil && have && transient(err) && ctx.Err() == nil {
		task.Note(fmt.Sprintf("%v; using %.12s, which %s was when it was last asked", err, commit, ref.Revision))
		task.End(nil)
		return present()
	}
	task.End(err)
	if err != nil {
		return Local{}, err
	}
	if len(found) > 1 && ref.SHA256 != "" {
		return Local{}, errShardHash
	}
	for i, at := range found {
		if _, _, ok := d.stored(at.src.commit, at.ref.File); !ok {
			continue
		}
		if found[i].local, err = f.local(ctx, at.ref, d, at.src.commit, at.ref.File); err != nil {
			return Local{}, err
		}
		// The tag may have come to mean what is here under another.
		if err := d.setRef(ref.Revision, at.src.commit); err != nil && !isReadOnly(err) {
			return Local{}, err
		}
		found[i].have = true
	}
	return f.obtainAll(ctx, ref, d, found)
}

// inSnapshot are the files of a manifest's model, and whether the store has all.
func (f *Fetcher) inSnapshot(ref Ref, d folder, commit string) ([]located, bool) {
	first, _, err := pick(d.files(commit), "")
	if err != nil {
		return nil, false
	}
	var found []located
	for _, file := range shardsOf(first) {
		if _, _, ok := d.stored(commit, file); !ok {
			return nil, false
		}
		one := ref
		one.File = file
		found = append(found, located{ref: one, have: true})
	}
	return found, true
}

// errNoLayer is an artifact of a registry that is something else.
var errNoLayer = errors.New("it has no layer with a GGUF file")

// ask gives the files of a registry's model, whose digests are in its manifest.
func (f *Fetcher) ask(ctx context.Context, ref Ref) ([]located, error) {
	digest := hex64.MatchString(ref.Revision)
	separator, revision := ":", ref.Revision
	if digest {
		separator, revision = "@", "sha256:"+revision
	}
	at, err := name.ParseReference(ref.Repo + separator + revision)
	if err != nil {
		return nil, err
	}
	host := at.Context().Registry
	carry, err := f.signIn(ctx, at)
	if err != nil {
		return nil, registryError(ctx, host.RegistryStr(), err)
	}
	asking, cancel := context.WithTimeoutCause(ctx, f.transport().stall, &networkError{host.RegistryStr(), errStalled})
	defer cancel()
	got, err := remote.Get(at, remote.WithContext(asking), remote.WithTransport(carry))
	if err != nil {
		return nil, registryError(asking, host.RegistryStr(), err)
	}
	if got.MediaType.IsIndex() {
		return nil, fmt.Errorf("%w: it is an index of images", errNoLayer)
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(got.Manifest, &manifest); err != nil {
		return nil, fmt.Errorf("its manifest cannot be read: %w", err)
	}
	var layers []v1.Descriptor
	for _, l := range manifest.Layers {
		if ggufLayers[string(l.MediaType)] {
			layers = append(layers, l)
		}
	}
	if len(layers) == 0 {
		return nil, fmt.Errorf("%w, but one of type %s", errNoLayer, printable(string(manifest.Config.MediaType)))
	}
	if len(layers) > maxShards {
		return nil, fmt.Errorf("it has %d layers with GGUF files", len(layers))
	}
	files := layerFiles(registryName(ref.Repo), layers)
	found := make([]located, len(layers))
	for i, l := range layers {
		if l.Digest.Algorithm != "sha256" || !hex64.MatchString(l.Digest.Hex) || l.Size < headerSize {
			return nil, fmt.Errorf("its layer %s has %d bytes: %w", printable(l.Digest.String()), l.Size, errNotModel)
		}
		if ref.SHA256 != "" && len(layers) == 1 && ref.SHA256 != l.Digest.Hex {
			return nil, &mismatchError{"SHA-256 in the registry", ref.SHA256, l.Digest.Hex}
		}
		one := ref
		one.File = files[i]
		found[i] = located{ref: one, src: source{
			address: host.Scheme() + "://" + host.RegistryStr() + "/v2/" + at.Context().RepositoryStr() + "/blobs/" + l.Digest.String(),
			commit:  got.Digest.Hex, blob: l.Digest.Hex, size: l.Size,
			want: expectation{sha256: l.Digest.Hex}, resumable: true, carry: carry,
		}}
	}
	return found, nil
}

// signIn is a transport that shows the registry, and nobody else, what it wants to
// see: the user's own login of Docker, or the token that anybody is given.
func (f *Fetcher) signIn(ctx context.Context, at name.Reference) (http.RoundTripper, error) {
	host := at.Context().Registry
	login, err := authn.Resolve(ctx, authn.DefaultKeychain, host)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeoutCause(ctx, f.transport().stall, &networkError{host.RegistryStr(), errStalled})
	defer cancel()
	return registryauth.NewWithContext(asking, host, login, f.carrier(true), []string{at.Scope(registryauth.PullScope)})
}

// registryError puts an error of the library's into our own terms.
func registryError(ctx context.Context, host string, err error) error {
	var t *registryauth.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &t):
		s := &statusError{code: t.StatusCode, host: host}
		if len(t.Errors) > 0 {
			s.reason, s.detail = printable(string(t.Errors[0].Code)), printable(t.Errors[0].Message)
		}
		return s
	case isCertificate(err):
		return fmt.Errorf("%s: %w", host, err)
	}
	return &networkError{host, err}
}

// layerFiles names the files of a model's layers, so that llama.cpp finds all of
// them by the first: as the layers say, if that is so, else by their order.
func layerFiles(base string, layers []v1.Descriptor) []string {
	said := make([]string, len(layers))
	for i, l := range layers {
		for _, key := range layerNames {
			if file := path.Base(l.Annotations[key]); said[i] == "" && isName(file) && strings.HasSuffix(file, ".gguf") {
				said[i] = file
			}
		}
	}
	if len(layers) == 1 {
		if _, shard := shardOf(said[0]); said[0] != "" && !shard && isModel(said[0]) {
			return said
		}
		return []string{base + ".gguf"}
	}
	if first, ok := shardOf(said[0]); ok && first.index == 1 && first.count == len(layers) {
		if want := shardsOf(said[0]); strings.Join(want, "/") == strings.Join(said, "/") {
			return said
		}
	}
	for i := range said {
		said[i] = fmt.Sprintf("%s-%05d-of-%05d.gguf", base, i+1, len(layers))
	}
	return said
}
