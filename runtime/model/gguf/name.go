package gguf

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MaxShards bounds how many files a name may make us fetch. The largest models have a
// few hundred.
const MaxShards = 1000

// shardName is how llama.cpp names the files of a split model (llama_split_path of its
// llama.h).
var shardName = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})\.gguf$`)

// companions are parts of the names of GGUF files that are not models of their own, as
// llama.cpp knows them: projectors, importance matrices, draft heads.
var companions = []string{"mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"}

// quantName finds a quantisation in a file name: at its end, or before a shard's number.
// Unsloth's dynamic quantisations begin with UD-.
var quantName = regexp.MustCompile(`(?i)(?:^|[-._/])((?:UD-)?(?:I?Q[1-8]_(?:K_XL|K_[SML]|K|[01]|XXS|XS|NL|S|M)|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32))(?:[-.]|$)`)

// Shard is the place of one file in a split model.
type Shard struct {
	// Index counts from 1 to Count.
	Index, Count int

	prefix string
}

// ShardOf reads a shard's name. It is false for a model in one file, and for numbers
// that no split model has.
func ShardOf(file string) (Shard, bool) {
	m := shardName.FindStringSubmatch(file)
	if m == nil {
		return Shard{}, false
	}
	index, _ := strconv.Atoi(m[2]) // five digits
	count, _ := strconv.Atoi(m[3])
	if index < 1 || index > count || count > MaxShards {
		return Shard{}, false
	}
	return Shard{index, count, m[1]}, true
}

// Shards are all files of the model that a file belongs to, in order. For a model in one
// file it is the file itself.
func Shards(file string) []string {
	s, ok := ShardOf(file)
	if !ok {
		return []string{file}
	}
	return ShardNames(s.prefix, s.Count)
}

// ShardNames are the names of a model's count files, as llama.cpp finds all of them by
// the first.
func ShardNames(prefix string, count int) []string {
	out := make([]string, count)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%05d-of-%05d.gguf", prefix, i+1, count)
	}
	return out
}

// QuantOf is the quantisation in a file name, in capitals; empty where there is none.
func QuantOf(file string) string {
	all := quantName.FindAllStringSubmatch(file, -1)
	if len(all) == 0 {
		return ""
	}
	return strings.ToUpper(all[len(all)-1][1])
}

// IsModel reports whether a file of a repository is a model of its own. Of a split model
// it is true for the first file only.
func IsModel(file string) bool {
	base := path.Base(file)
	if !strings.HasSuffix(strings.ToLower(base), ".gguf") || slices.ContainsFunc(companions, func(c string) bool { return strings.Contains(base, c) }) {
		return false
	}
	s, ok := ShardOf(file)
	return !ok || s.Index == 1
}
