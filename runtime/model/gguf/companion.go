package gguf

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// Sidecar is a kind of file that lies beside a model in its repository and belongs to it.
type Sidecar string

// The kinds. All but the first guess ahead of the model that they were made for.
const (
	SidecarProjector Sidecar = "mmproj"
	SidecarMTP       Sidecar = "mtp"
	SidecarDSpark    Sidecar = "dspark"
	SidecarDFlash    Sidecar = "dflash"
	SidecarEagle3    Sidecar = "eagle3"
)

// DraftSidecars are the kinds that guess ahead, the one that llama.cpp prefers first.
var DraftSidecars = []Sidecar{SidecarMTP, SidecarDSpark, SidecarDFlash, SidecarEagle3}

// Speculation is the server's name for the way in which a sidecar guesses; empty for a
// projector.
func (s Sidecar) Speculation() string {
	if s == SidecarProjector {
		return ""
	}
	return "draft-" + string(s)
}

// word is what the names of such files contain.
func (s Sidecar) word() string {
	if s == SidecarProjector {
		return string(s)
	}
	return string(s) + "-"
}

// Beside chooses, among the files of a repository, the sidecar of a kind that belongs to
// a model: as llama.cpp's -hf does (find_best_sibling in common/download.cpp of v0.5.0),
// one in the model's folder or in one above it, the nearest; of these one that has the
// quantisation quant in its name, where one is given; then one with the most similar
// number of bits. Without a model it takes any of the top folder. Empty means that there
// is none.
func Beside(files []string, model string, kind Sidecar, quant string) string {
	wanted := bitsOf(QuantOf(model))
	if quant != "" {
		wanted = bitsOf(quant)
	}
	type rank struct{ depth, exact, near int }
	better := func(a, b rank) bool {
		return slices.Compare([]int{a.depth, a.exact, a.near}, []int{b.depth, b.exact, b.near}) > 0
	}
	best, first := "", rank{}
	for _, f := range files {
		depth, ok := above(path.Dir(f), path.Dir(model))
		if !ok || !isSidecar(f, model, kind) {
			continue
		}
		r := rank{depth: depth, near: -abs(bitsOf(QuantOf(f)) - wanted)}
		if quant != "" && strings.EqualFold(QuantOf(f), quant) {
			r.exact = 1
		}
		if best == "" || better(r, first) {
			best, first = f, r
		}
	}
	return best
}

// isSidecar says whether a file's name is one of a kind, and not that of the model itself
// or of another of its quantisations.
func isSidecar(file, model string, kind Sidecar) bool {
	base, own := strings.ToLower(path.Base(file)), strings.ToLower(path.Base(model))
	if s, ok := ShardOf(file); ok && s.Index > 1 || !strings.HasSuffix(base, ".gguf") || file == model {
		return false
	}
	word := kind.word()
	if strings.HasPrefix(base, word) {
		return true
	}
	i := strings.Index(base, word)
	return i > 0 && strings.ContainsRune("-._", rune(base[i-1])) && !strings.Contains(own, word)
}

// above says whether a folder is another one or above it, and how deep it lies.
func above(dir, other string) (depth int, ok bool) {
	if dir == "." {
		return 0, true
	}
	return strings.Count(dir, "/") + 1, dir == other || strings.HasPrefix(other, dir+"/")
}

// bitsOf is the number in a quantisation: 4 for Q4_K_M, 16 for BF16, 0 for none.
func bitsOf(quant string) int {
	i := strings.IndexAny(quant, "0123456789")
	if i < 0 {
		return 0
	}
	end := i
	for end < len(quant) && quant[end] >= '0' && quant[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(quant[i:end]) // digits
	return n
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// Speculation is the server's name for the way in which a file guesses ahead of a model;
// empty where the server finds it out by itself.
func (f Facts) Speculation() string {
	switch {
	case f.Architecture == string(SidecarEagle3):
		return SidecarEagle3.Speculation()
	case f.draft, f.Role() == Draft:
		return ""
	}
	return "draft-simple"
}
