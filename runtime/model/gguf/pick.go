package gguf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// usualQuants are what llama.cpp's own -hf takes where no quantisation is named, in this
// order (common/download.cpp of v0.5.0). After these it takes the first model in the list.
var usualQuants = []string{"Q4_K_M", "Q8_0"}

// FirstChoice is the quantisation that Pick prefers where none is named.
func FirstChoice() string { return usualQuants[0] }

// PickError means that a quantisation does not name exactly one file.
type PickError struct {
	what string
	// has are the files or quantisations to choose from, the nearest first.
	has []string
}

func (e *PickError) Error() string { return e.what }

// Advice says what the user can do.
func (e *PickError) Advice() string {
	if len(e.has) == 0 {
		return "look for a repository whose name ends in -GGUF"
	}
	return "name one of these, nearest first: " + strings.Join(e.has, ", ")
}

// Look reads a file's header, of which only as much is fetched as there is of it.
type Look func(file string) (Facts, error)

// Pick chooses the file of a repository that a quantisation means, in any case of
// letters, by the files' names alone. Without a quantisation it takes what llama.cpp
// would, and why says how it chose. The error is a *PickError.
func Pick(files []string, quant string) (file, why string, err error) {
	return PickBy(files, quant, nil)
}

// PickBy is Pick, and reads headers where names leave a doubt: whether a file is a model or
// belongs to one, and how a file is quantised whose name does not say it.
func PickBy(files []string, quant string, look Look) (file, why string, err error) {
	p := newPicker(files, look)
	if quant == "" {
		return p.usual()
	}
	for _, group := range p.groups() {
		found := filter(group, func(f string) bool { return strings.EqualFold(QuantOf(f), quant) })
		if len(found) == 0 {
			// llama.cpp looks for Q4_K_XL inside the name UD-Q4_K_XL.
			found = filter(group, func(f string) bool { return contains(f, quant) })
		}
		switch found = p.models(found); len(found) {
		case 0:
		case 1:
			return found[0], "", nil
		default:
			return "", "", &PickError{fmt.Sprintf("%d models of the repository are quantised as %s", len(found), quant), found}
		}
	}
	if found := p.quantised(quant); len(found) == 1 {
		return found[0], "its header says " + quant, nil
	}
	return "", "", &PickError{fmt.Sprintf("the repository has no model quantised as %s", quant), nearestQuants(p.all(), quant)}
}

// usual chooses where no quantisation is named.
func (p *picker) usual() (file, why string, err error) {
	for _, q := range usualQuants {
		for _, group := range p.groups() {
			if f := p.first(filter(group, func(f string) bool { return contains(f, q) || QuantOf(f) == q })); f != "" {
				return f, "no quantisation given: using " + q, nil
			}
		}
	}
	for _, group := range p.groups() {
		if f := p.first(group); f != "" {
			return f, "no quantisation given: using the first model", nil
		}
	}
	return "", "", &PickError{what: "the repository has no .gguf model"}
}

func filter(files []string, keep func(string) bool) []string {
	var out []string
	for _, f := range files {
		if keep(f) {
			out = append(out, f)
		}
	}
	return out
}

// contains reports whether a file name has a quantisation in it, by llama.cpp's own rule:
// the word, followed by a dot or a dash.
func contains(file, quant string) bool {
	file, quant = strings.ToUpper(file), strings.ToUpper(quant)
	for rest := file; ; {
		i := strings.Index(rest, quant)
		if i < 0 {
			return false
		}
		rest = rest[i+len(quant):]
		if strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "-") {
			return true
		}
	}
}

// nearestQuants are the quantisations of models, the most similar to want first. A model
// whose name has none counts by its name.
func nearestQuants(models []string, want string) []string {
	var names []string
	for _, f := range models {
		name := cmp.Or(QuantOf(f), f)
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	Nearest(want, names)
	return names[:min(len(names), 12)]
}
