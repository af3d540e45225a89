package gguf

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// MaxShards bounds how many files a name may make us fetch. The largest models have a
// few hundred.
const MaxShards = 1000

// shardName is how llama.cpp names the files of a split model (llama_split_path of its
// llama.h).
var shardName = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})\.gguf$`)

// quantWord is a quantisation as file names have it. Unsloth's dynamic quantisations begin
// with UD-.
const quantWord = `((?:UD-)?(?:I?Q[1-8]_(?:K_XL|K_[SML]|K|[01]|XXS|XS|NL|S|M)|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32))`

var (
	// quantName finds a quantisation in a file name: at its end, or before a shard's number.
	quantName = regexp.MustCompile(`(?i)(?:^|[-._])` + quantWord + `(?:[-.]|$)`)
	// quantFolder finds one at the end of a folder's name.
	quantFolder = regexp.MustCompile(`(?i)(?:^|[-._])` + quantWord + `$`)
)

// Shard is the place of one file in a split model, by its name.
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

// Shards are all files of the model that a file belongs to, in order, by its name. For a
// model in one file it is the file itself. Parts looks at the header too.
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

// Parts are the names of all files of the model that a file on this host belongs to, in
// order. The name of a file is a hint: a file whose header says that it is a whole model
// is one, though it is named as a part. A header that cannot be read leaves the name.
func Parts(file string) []string {
	name := filepath.Base(file)
	names := Shards(name)
	if len(names) < 2 {
		return names
	}
	if f, err := ExamineFile(file); err == nil && f.Split.Count < 2 {
		return []string{name}
	}
	return names
}

// QuantOf is the quantisation in a file's name, else in the name of the folder that it is
// in, in capitals; empty where there is none.
func QuantOf(file string) string {
	found, rest := "", path.Base(file)
	for {
		m := quantName.FindStringSubmatchIndex(rest)
		if m == nil {
			break
		}
		found, rest = rest[m[2]:m[3]], rest[m[3]:]
	}
	if found != "" {
		return strings.ToUpper(found)
	}
	for dir := path.Dir(file); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if m := quantFolder.FindStringSubmatch(path.Base(dir)); m != nil {
			return strings.ToUpper(m[1])
		}
	}
	return ""
}
