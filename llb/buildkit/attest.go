package buildkit

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/llb"
	"github.com/llorch/llorch-bk/llb/attest"
	bkllb "github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/result"
)

// statements makes the attestations of an image: an SPDX document and a manifest of its
// device code. The builder reads the data from the image and from the compiled tree.
func statements(ctx context.Context, gw gateway.Client, p images.Plan, g llb.Graph, image *gateway.Result) ([]gateway.Attestation, error) {
	ref, err := image.SingleRef()
	if err != nil {
		return nil, err
	}
	img, err := newReader(ref)
	if err != nil {
		return nil, err
	}
	tree, err := solved(ctx, gw, g.Source)
	if err != nil {
		return nil, err
	}
	sbom, err := document(ctx, img, tree, p, g)
	if err != nil {
		return nil, fmt.Errorf("the SBOM: %w", err)
	}
	code, err := deviceCode(ctx, img, p)
	if err != nil {
		return nil, fmt.Errorf("the manifest of device code: %w", err)
	}
	var out []gateway.Attestation
	for _, s := range []struct {
		predicate, file string
		data            []byte
	}{{attest.PredicateSPDX, "sbom.spdx.json", sbom}, {attest.PredicateDeviceCode, "device-code.json", code}} {
		made, err := solved(ctx, gw, bkllb.Scratch().File(bkllb.Mkfile("/"+s.file, 0o644, s.data), bkllb.WithCustomName("[attest] "+s.file)))
		if err != nil {
			return nil, err
		}
		out = append(out, gateway.Attestation{
			Kind: gatewaypb.AttestationKind_InToto, Ref: made.ref, Path: "/" + s.file,
			InToto: result.InTotoAttestation{PredicateType: s.predicate},
		})
	}
	return out, nil
}

// document makes the SPDX document of an image.
func document(ctx context.Context, img, tree *reader, p images.Plan, g llb.Graph) ([]byte, error) {
	packages, err := attest.Installed(ctx, img)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, name := range attest.VendorFiles {
		data, ok, err := tree.Read(ctx, name)
		if err != nil {
			return nil, err
		}
		if ok {
			files[name] = data
		}
	}
	packages = append(packages, attest.Vendored(files)...)
	if p.UI != nil {
		_, arch, _ := strings.Cut(p.Platform, "/")
		lock, _, err := tree.Read(ctx, images.UILockFile)
		if err != nil {
			return nil, err
		}
		npm, err := attest.NPMPackages(lock, arch)
		if err != nil {
			return nil, err
		}
		packages = append(packages, npm...)
	}
	version := p.Source.Version
	if version == "" {
		version = p.Source.Commit
	}
	llama := attest.Package{
		Kind: attest.KindSource, Name: "llama.cpp", Version: version, Licence: "MIT", Supplier: "Organization: ggml.org",
		PURL: "pkg:github/ggml-org/llama.cpp@" + p.Source.Commit,
	}
	return attest.Document{
		Name:      "llama.cpp server, " + p.Variant + " for " + p.Platform,
		Namespace: "https://github.com/llorch/llorch-bk/spdx/" + strings.TrimPrefix(p.Recipe, "sha256:"),
		Created:   created(g.Epoch),
		Root:      attest.Package{Kind: attest.KindImage, Name: "llama.cpp-server", Version: version, Licence: "MIT"},
		Packages:  append(packages, llama),
		Tool:      "llorch-bk",
	}.SPDX()
}

func deviceCode(ctx context.Context, img *reader, p images.Plan) ([]byte, error) {
	libraries, err := img.List(ctx, images.AppDir)
	if err != nil {
		return nil, err
	}
	var archs string
	if p.CUDA != nil {
		archs = strings.Join(p.CUDA.Archs, ";")
	}
	code, err := attest.ParseDeviceCode(libraries, p.CPU.Level, archs)
	if err != nil {
		return nil, err
	}
	return code.JSON()
}

// reader reads files on a builder. It lists folders to know which files exist, because the
// error for a missing file loses its type on the way from the builder.
type reader struct {
	ref     gateway.Reference
	folders map[string][]string
}

func newReader(ref gateway.Reference) (*reader, error) {
	if ref == nil {
		return nil, errors.New("the builder returned no result")
	}
	return &reader{ref, map[string][]string{}}, nil
}

// solved solves a state and returns its files.
func solved(ctx context.Context, gw gateway.Client, st bkllb.State) (*reader, error) {
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, err
	}
	ref, err := res.SingleRef()
	if err != nil {
		return nil, err
	}
	return newReader(ref)
}

// Read returns a file's content, and whether it exists. The builder follows links.
func (r *reader) Read(ctx context.Context, name string) ([]byte, bool, error) {
	there, err := r.has(ctx, name)
	if err != nil || !there {
		return nil, false, err
	}
	data, err := r.ref.ReadFile(ctx, gateway.ReadRequest{Filename: name})
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", name, err)
	}
	return data, true, nil
}

func (r *reader) has(ctx context.Context, name string) (bool, error) {
	dir, base := path.Split(path.Clean("/" + name))
	names, err := r.List(ctx, dir)
	return slices.Contains(names, base), err
}

// List returns the names in a folder; none if it does not exist.
func (r *reader) List(ctx context.Context, dir string) ([]string, error) {
	dir = path.Clean("/" + dir)
	if names, ok := r.folders[dir]; ok {
		return names, nil
	}
	if dir != "/" {
		if there, err := r.has(ctx, dir); err != nil || !there {
			return nil, err
		}
	}
	stats, err := r.ref.ReadDir(ctx, gateway.ReadDirRequest{Path: dir})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}
	var names []string
	for _, s := range stats {
		names = append(names, path.Base(s.Path))
	}
	r.folders[dir] = names
	return names, nil
}

// created is the time of a document: the commit's, so that equal images have equal
// documents. If the builder fetched the source, the commit's time is unknown. An SPDX
// document must have a time, so the current time is used.
func created(epoch time.Time) time.Time {
	if epoch.IsZero() {
		return time.Now().UTC().Truncate(time.Second)
	}
	return epoch
}
