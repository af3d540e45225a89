package gguf

import (
	"cmp"
	"slices"
	"strings"
)

// Nearest sorts names by how similar they are to a word, the most similar first. Case is
// ignored, and equally similar names keep their order.
func Nearest(want string, names []string) {
	want = strings.ToLower(want)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(distance(want, strings.ToLower(a)), distance(want, strings.ToLower(b)))
	})
}

// distance is the number of single bytes to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
