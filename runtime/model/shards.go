package model

import (
	"fmt"
	"regexp"
	"strconv"
)

// shardName is how llama.cpp names the files of a model in several of them
// (llama_split_path of its llama.h).
var shardName = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})\.gguf$`)

// maxShards bounds what a name may make us fetch; the largest models have some
// hundred.
const maxShards = 1000

// shardInfo is a file's place among those of its model.
type shardInfo struct {
	prefix       string
	index, count int
}

// shardOf reads a shard's name; false for a model in one file, and for a name
// that cannot be.
func shardOf(file string) (shardInfo, bool) {
	m := shardName.FindStringSubmatch(file)
	if m == nil {
		return shardInfo{}, false
	}
	index, _ := strconv.Atoi(m[2]) // five digits
	count, _ := strconv.Atoi(m[3])
	if index < 1 || index > count || count > maxShards {
		return shardInfo{}, false
	}
	return shardInfo{m[1], index, count}, true
}

// shardsOf are all files of the model that a file belongs to, the first one first:
// the file itself for a model in one.
func shardsOf(file string) []string {
	s, ok := shardOf(file)
	if !ok {
		return []string{file}
	}
	out := make([]string, s.count)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%05d-of-%05d.gguf", s.prefix, i+1, s.count)
	}
	return out
}
