package ref

import (
	"net/url"
	"path"
	"strings"
)

// BaseName is the file name that an HTTP ref's content gets in the store, and of a
// Registry ref the name, without an extension, of files that the registry does not name.
func (r Ref) BaseName() string {
	switch r.Kind {
	case HTTP:
		return webName(r.URL)
	case Registry:
		base := path.Base(r.Repo)
		return base[:min(len(base), 100)]
	case File, Hub:
	}
	return ""
}

// webName is the file name that a URL's content gets in the store.
func webName(address string) string {
	var name string
	if u, err := url.Parse(address); err == nil {
		name = path.Base(u.Path)
	}
	name = strings.Map(func(r rune) rune {
		if IsName("x" + string(r)) {
			return r
		}
		return '_'
	}, strings.TrimSuffix(name, "/"))
	if len(name) > 100 {
		name = name[len(name)-100:]
	}
	// The name must not be hidden, and no tool may take it for a flag.
	if name = strings.TrimLeft(name, ".-"); name == "" {
		return "model.gguf"
	}
	return name
}

// IsName reports whether a word from outside may be a file name in the store.
func IsName(s string) bool {
	if s == "" || len(s) > 128 || strings.HasPrefix(s, ".") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("._-+", r)
	})
}

// CleanRelative reports whether p is a slash-separated relative path in its shortest form
// that stays below the folder that it is relative to.
func CleanRelative(p string) bool {
	return p != "" && path.Clean(p) == p && p != "." && p != ".." && !strings.HasPrefix(p, "/") &&
		!strings.HasPrefix(p, "../") && !strings.Contains(p, `\`) && !strings.ContainsFunc(p, isControl)
}
