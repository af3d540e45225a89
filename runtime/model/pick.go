package model

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// What llama.cpp's own -hf takes where no quantisation is named, in this order
// (common/download.cpp of v0.5.0); after these, the first model in the list.
var usualQuants = []string{"Q4_K_M", "Q8_0"}

// companions are parts of names of GGUF files that are no model of their own, as
// llama.cpp knows them: projectors, importance matrices, draft heads.
var companions = []string{"mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"}

// quantName finds a quantisation in a file's name: it ends the name, or what
// follows is the number of a shard. Unsloth's dynamic ones have UD- before them.
var quantName = regexp.MustCompile(`(?i)(?:^|[-._/])((?:UD-)?(?:I?Q[1-8]_(?:K_XL|K_[SML]|K|[01]|XXS|XS|NL|S|M)|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32))(?:[-.]|$)`)

// quantWord is what a ref may give as a quantisation.
var quantWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$`)

// quantOf is the quantisation in a file's name, in capitals; empty for none.
func quantOf(file string) string {
	all := quantName.FindAllStringSubmatch(file, -1)
	if len(all) == 0 {
		return ""
	}
	return strings.ToUpper(all[len(all)-1][1])
}

// isModel says whether a file of a repository is a model of its own, and of a
// model in several files the first.
func isModel(file string) bool {
	base := path.Base(file)
	if !strings.HasSuffix(strings.ToLower(base), ".gguf") || slices.ContainsFunc(companions, func(c string) bool { return strings.Contains(base, c) }) {
		return false
	}
	s, ok := shardOf(file)
	return !ok || s.index == 1
}

// pickError is a quantisation that names no one file.
type pickError struct {
	what string
	has  []string
}

func (e *pickError) Error() string { return e.what }

func (e *pickError) advice() string {
	if len(e.has) == 0 {
		return "look for a repository whose name ends in -GGUF"
	}
	return "name one of these, nearest first: " + strings.Join(e.has, ", ")
}

// pick chooses the file of a repository that a quantisation means, in any case of
// letters, or without one what llama.cpp would take. Why says how it was chosen,
// where the user did not say it.
func pick(files []string, quant string) (file, why string, err error) {
	var models []string
	for _, f := range files {
		if isModel(f) {
			models = append(models, f)
		}
	}
	if quant == "" {
		for _, q := range usualQuants {
			if i := slices.IndexFunc(models, func(f string) bool { return means(f, q) }); i >= 0 {
				return models[i], "no quantisation is named, so " + q + " is taken", nil
			}
		}
		if len(models) > 0 {
			return models[0], "no quantisation is named, so the first model is taken", nil
		}
		return "", "", &pickError{what: "the repository has no .gguf model"}
	}
	var found []string
	for _, f := range models {
		if strings.EqualFold(quantOf(f), quant) {
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		// As llama.cpp looks for it: Q4_K_XL is in the name of UD-Q4_K_XL.
		for _, f := range models {
			if means(f, quant) {
				found = append(found, f)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], "", nil
	case 0:
		return "", "", &pickError{fmt.Sprintf("the repository has no model quantised as %s", quant), nearestQuants(models, quant)}
	}
	return "", "", &pickError{fmt.Sprintf("%d models of the repository are quantised as %s", len(found), quant), found}
}

// means says whether a file's name has a quantisation in it as llama.cpp sees it.
func means(file, quant string) bool {
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

// nearestQuants are what models are quantised as, the most similar first; of a
// model that does not say, its name.
func nearestQuants(models []string, want string) []string {
	var names []string
	for _, f := range models {
		name := cmp.Or(quantOf(f), f)
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	want = strings.ToUpper(want)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(distance(want, strings.ToUpper(a)), distance(want, strings.ToUpper(b)))
	})
	return names[:min(len(names), 12)]
}
