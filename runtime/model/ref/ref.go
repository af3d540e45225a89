package ref

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/digest"
)

// Kind says where a ref's model comes from.
type Kind int

// The kinds of ref.
const (
	// File is a file of the user's own on this host.
	File Kind = iota
	// Hub is a file in a repository of the Hugging Face Hub.
	Hub
	// HTTP is a plain http or https URL.
	HTTP
	// Registry is a model in a container registry, as Docker Model Runner and CNCF's
	// ModelPack store one.
	Registry
)

// DefaultRevision is the revision of a Hub ref that does not name one.
const DefaultRevision = "main"

// Ref names one model file. Only the fields of its Kind are set.
type Ref struct {
	// Raw is the ref as it was given, without the query of a URL: a signed
	// URL's query is a secret. It is safe to print and to store.
	Raw  string
	Kind Kind
	// Path is the path of a File, as given: relative to the working folder or absolute.
	Path string
	// Of a Hub ref, Repo is "org/name", Revision a branch, tag or commit, and File the
	// slash-separated path inside the repository. File is empty where Quant, a
	// quantisation such as Q4_K_M, or llama.cpp's own choice names the file.
	// Of a Registry ref, Repo is "host/path" and Revision a tag or a digest's hex; File
	// is empty.
	Repo, Revision, File, Quant string
	// URL is the address of an HTTP ref with its query and without its fragment.
	URL string
	// SHA256 is the hash that the user requires, in lower-case hex; empty for none.
	SHA256 string
}

// String is Raw: no verb of fmt prints the query of a URL.
func (r Ref) String() string { return r.Raw }

// Name is the ref for a person to read, with the file that it came to mean.
func (r Ref) Name() string {
	if r.Kind == Hub && r.File != "" && !strings.Contains(r.Raw, r.File) {
		return r.Raw + " (" + r.File + ")"
	}
	return r.Raw
}

// GoString hides the query from %#v too.
func (r Ref) GoString() string { return fmt.Sprintf("ref.Ref(%q)", r.Raw) }

const refForms = "write a path, file:PATH, hf:ORG/REPO[@REVISION], hf:ORG/REPO[@REVISION]:QUANT, hf:ORG/REPO[@REVISION]/FILE.gguf, " +
	"oci://[REGISTRY/]NAME[:TAG], ollama://NAME[:TAG], or an http(s) URL, each with an optional #sha256=HEX"

var (
	scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)
	// repoPart is one half of a repository's name, as the Hub allows it. The store joins
	// the halves with two dashes, so these must not occur inside.
	repoPart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$`)
	// quantWord is what a ref may give as a quantisation.
	quantWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$`)
)

// Parse reads a model ref. The error is a Usage fault that never repeats a password or a
// query.
func Parse(raw string) (Ref, error) {
	if strings.TrimSpace(raw) == "" {
		return Ref{}, usage("a model ref is empty", nil)
	}
	if strings.ContainsFunc(raw, isControl) {
		return Ref{}, usage("a model ref contains control characters", nil)
	}
	body, sum, err := cutSum(raw)
	if err != nil {
		return Ref{}, err
	}
	var r Ref
	lower := strings.ToLower(body)
	switch {
	case strings.HasPrefix(lower, "hf:"):
		r, err = parseHub(body[len("hf:"):])
	case strings.HasPrefix(lower, registryScheme):
		r, err = parseRegistry(body[len(registryScheme):])
	case strings.HasPrefix(lower, ollamaScheme):
		r, err = parseOllama(body[len(ollamaScheme):])
	case strings.HasPrefix(lower, "http://"), strings.HasPrefix(lower, "https://"):
		r, err = parseHTTP(body)
	case strings.HasPrefix(lower, "file:"):
		r, err = parseFile(body[len("file:"):])
	case scheme.MatchString(body):
		return Ref{}, usage(fmt.Sprintf("a model ref cannot begin with %q", scheme.FindString(body)), nil)
	default:
		r, err = parseFile(body)
	}
	if err != nil {
		return Ref{}, err
	}
	if r.Raw == "" {
		r.Raw = body
	}
	if sum != "" {
		r.SHA256 = sum
		r.Raw += "#sha256=" + sum
	}
	return r, nil
}

// cutSum takes a trailing #sha256=HEX off a ref.
func cutSum(raw string) (body, sum string, err error) {
	const mark = "#sha256="
	i := strings.LastIndex(raw, mark)
	if i < 0 {
		return raw, "", nil
	}
	sum = strings.ToLower(raw[i+len(mark):])
	if !digest.IsSHA256(sum) {
		return "", "", usage("a model ref's #sha256= needs 64 hexadecimal digits", nil)
	}
	return raw[:i], sum, nil
}

func parseFile(p string) (Ref, error) {
	raw := p
	if rest, ok := strings.CutPrefix(p, "//"); ok {
		host, abs, found := strings.Cut(rest, "/")
		if !found || (host != "" && !strings.EqualFold(host, "localhost")) {
			return Ref{}, usage(fmt.Sprintf("file:%s does not name a file on this host", raw), nil)
		}
		p = "/" + abs
	}
	if p == "" {
		return Ref{}, usage("a file: ref names no file", nil)
	}
	return Ref{Kind: File, Path: filepath.Clean(p)}, nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

func usage(what string, why error) error { return fault.New(fault.Usage, what, why, refForms) }
