package ref

import (
	"fmt"
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
	// Hub is a file in a repository of the Hugging Face Hub, or of another Site.
	Hub
	// HTTP is a plain http or https URL.
	HTTP
	// Registry is a model in a container registry, as Docker Model Runner and CNCF's
	// ModelPack store one.
	Registry
)

// DefaultRevision is the revision of a ref to the Hugging Face Hub that does not name one.
const DefaultRevision = "main"

// Ref names one model file. Only the fields of its Kind are set.
type Ref struct {
	// Raw is the ref as it was given, with the short scheme of its kind (hf:, ms:, oci://).
	// It has no query of a URL, because a signed URL's query is a secret. It is safe to
	// print and to store, and Parse reads it back as the same ref.
	Raw  string
	Kind Kind
	// Site is the hub of a Hub ref.
	Site Site
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

const refForms = "write a path, file:PATH, hf:ORG/REPO[@REVISION][:QUANT], hf:ORG/REPO[@REVISION]/FILE.gguf, " +
	"ms: in the place of hf: for ModelScope, oci://[REGISTRY/]NAME[:TAG], ollama://NAME[:TAG], or an http(s) URL, each with an optional #sha256=HEX"

// sumMark begins the hash that a ref may end in.
const sumMark = "#sha256="

var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)

// hubSchemes are the spellings of the sites' schemes. Behind each, slashes are allowed.
var hubSchemes = []struct {
	prefix string
	site   Site
}{{"hf:", HuggingFace}, {"huggingface:", HuggingFace}, {"ms:", ModelScope}, {"modelscope:", ModelScope}}

// Parse reads a model ref, in any of the spellings that people use. Spaces around it do not
// count. The error is a Usage fault that never repeats a password or a query.
func Parse(raw string) (Ref, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return Ref{}, usage("a model ref is empty", nil)
	}
	if strings.ContainsFunc(raw, isControl) {
		return Ref{}, usage("a model ref contains control characters", nil)
	}
	body, sum, err := cutSum(raw)
	if err != nil {
		return Ref{}, err
	}
	r, err := parseBody(body)
	if err != nil {
		return Ref{}, err
	}
	if r.Raw == "" {
		r.Raw = body
	}
	if sum != "" {
		r.SHA256 = sum
		r.Raw += sumMark + sum
	}
	return r, nil
}

// parseBody reads a ref without its hash.
func parseBody(body string) (Ref, error) {
	lower := strings.ToLower(body)
	for _, h := range hubSchemes {
		if strings.HasPrefix(lower, h.prefix) {
			return parseHub(h.site, body[len(h.prefix):])
		}
	}
	switch {
	case strings.HasPrefix(lower, registryScheme):
		return parseRegistry(body[len(registryScheme):])
	case strings.HasPrefix(lower, ollamaScheme):
		return parseOllama(body[len(ollamaScheme):])
	case strings.HasPrefix(lower, "http://"), strings.HasPrefix(lower, "https://"):
		return parseHTTP(body)
	case strings.HasPrefix(lower, "file:"):
		return parseFileURL(body[len("file:"):])
	case scheme.MatchString(body):
		return Ref{}, usage(fmt.Sprintf("a model ref cannot begin with %q", scheme.FindString(body)), nil)
	case bareHost(body):
		return parseHTTP("https://" + body)
	case isBareHub(body):
		return parseHub(HuggingFace, body)
	}
	return parseFile(body)
}

// cutSum takes a trailing #sha256=HEX off a ref.
func cutSum(raw string) (body, sum string, err error) {
	i := strings.LastIndex(raw, sumMark)
	if i < 0 {
		return raw, "", nil
	}
	sum = strings.ToLower(raw[i+len(sumMark):])
	if !digest.IsSHA256(sum) {
		return "", "", usage("a model ref's #sha256= needs 64 hexadecimal digits", nil)
	}
	return raw[:i], sum, nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

func usage(what string, why error) error { return fault.New(fault.Usage, what, why, refForms) }
