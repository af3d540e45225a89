package gguf

import (
	"path"
	"slices"
	"strings"
)

// hint is how much a file's name says that it is no model of its own.
type hint int

const (
	// none: the name says nothing of the kind.
	none hint = iota
	// inside: a word of the kind is inside the name, as in Q-27B-mtp-Q6_K.gguf, which is a
	// model with its draft head, or F-7B-imatrix-Q4_K_M.gguf, which was quantised with one.
	inside
	// likely: the name begins or ends with the word, or its folder is called so.
	likely
	// projector: only a header can prove that it is something else.
	projector
)

// companionWords are what the names of files are made of that belong to a model: projectors,
// importance matrices, draft heads (gguf_filename_is_model of llama.cpp's common/download.cpp).
var companionWords = []string{"mmproj", "imatrix", "mtp", "eagle3", "dflash", "dspark"}

// hintOf reads a file's name.
func hintOf(file string) hint {
	file = strings.ToLower(file)
	base := path.Base(file)
	if strings.Contains(base, "mmproj") {
		return projector
	}
	dir := path.Dir(file)
	if slices.ContainsFunc(strings.Split(dir, "/"), isCompanionWord) {
		return likely
	}
	stem := strings.TrimSuffix(base, ".gguf")
	if s, ok := ShardOf(base); ok {
		stem = s.prefix
	}
	words := strings.FieldsFunc(stem, func(r rune) bool { return strings.ContainsRune("-_. ", r) })
	switch {
	case len(words) == 0:
		return none
	case isCompanionWord(words[0]), isCompanionWord(words[len(words)-1]):
		return likely
	case slices.ContainsFunc(words, isCompanionWord):
		return inside
	}
	return none
}

func isCompanionWord(word string) bool { return slices.Contains(companionWords, word) }

// isFirst reports whether a file is a GGUF, and of a split model the first file.
func isFirst(file string) bool {
	if !strings.HasSuffix(strings.ToLower(file), ".gguf") {
		return false
	}
	s, ok := ShardOf(path.Base(file))
	return !ok || s.Index == 1
}

// IsModel reports whether a file is a model of its own, as far as its name tells. Of a
// split model it is true for the first file only.
func IsModel(file string) bool { return isFirst(file) && hintOf(file) < likely }
