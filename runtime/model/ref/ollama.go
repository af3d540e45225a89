package ref

import (
	"errors"
	"regexp"
	"strings"
)

const (
	ollamaScheme = "ollama://"
	// ollamaHost and ollamaOrg are where Ollama looks for a name that has none.
	ollamaHost = "registry.ollama.ai"
	ollamaOrg  = "library"
)

var (
	ollamaPart = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$`)
	// ollamaHostName can have a port.
	ollamaHostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?(:[0-9]{1,5})?$`)
)

// parseOllama reads a name as Ollama does: [HOST/][ORG/]MODEL[:TAG]. A repository of the
// Hub is the Hub's ref.
func parseOllama(s string) (Ref, error) {
	bad := func(why string) (Ref, error) {
		return Ref{}, usage("model ref "+ollamaScheme+s, errors.New(why))
	}
	name, tag := s, "latest"
	if i := strings.LastIndex(s, ":"); i > strings.LastIndex(s, "/") {
		name, tag = s[:i], s[i+1:]
	}
	parts := strings.Split(name, "/")
	switch len(parts) {
	case 1:
		parts = []string{ollamaHost, ollamaOrg, parts[0]}
	case 2:
		parts = []string{ollamaHost, parts[0], parts[1]}
	case 3:
	default:
		return bad("it has more parts than HOST/ORG/MODEL:TAG")
	}
	host := strings.ToLower(parts[0])
	if host == "hf.co" || host == "huggingface.co" {
		hub := "hf:" + parts[1] + "/" + parts[2]
		if tag != "latest" {
			hub += ":" + tag
		}
		return Parse(hub)
	}
	if !ollamaHostName.MatchString(host) || !ollamaPart.MatchString(parts[1]) || !ollamaPart.MatchString(parts[2]) || !ollamaPart.MatchString(tag) {
		return bad("it is not a name of Ollama's: [HOST/][ORG/]MODEL[:TAG]")
	}
	return Ref{Raw: ollamaScheme + s, Kind: Registry, Repo: host + "/" + parts[1] + "/" + parts[2], Revision: tag}, nil
}

// IsOllama reports whether a ref means what Ollama has under a name.
func (r Ref) IsOllama() bool { return strings.HasPrefix(r.Raw, ollamaScheme) }
