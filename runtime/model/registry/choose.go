package registry

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// candidate is a layer that may be of the model.
type candidate struct {
	v1.Descriptor
	// name is what the artifact calls its file, empty where it does not.
	name string
	// facts are what its header says; only where it could be read.
	facts gguf.Facts
	known bool
}

// choose is the model among the GGUF files of an artifact, in the order of its files, and
// in why what else there was to choose. Quant is the quantisation that is asked for, empty
// for llama.cpp's own choice.
//
// A header says what a file is and where its place is. Names, and the order of layers, are
// for files whose header cannot be read.
func choose(all []candidate, base, quant string) (chosen []candidate, why string, err error) {
	models := group(withoutCompanions(all))
	if len(models) == 1 {
		return models[0], "", isComplete(models[0])
	}
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = cmp.Or(m[0].name, fmt.Sprintf("%s-%d.gguf", base, i+1))
		if len(m) > 1 { // the name of any part stands for that of the first
			names[i] = gguf.Shards(names[i])[0]
		}
	}
	picked, _, err := gguf.Pick(names, quant)
	if err != nil {
		picked, _, err = gguf.Pick(names, "")
	}
	if err != nil {
		return nil, "", err
	}
	chosen = models[slices.Index(names, picked)]
	return chosen, fmt.Sprintf("it has %d models, %s: using %s", len(models), strings.Join(names, ", "), picked), isComplete(chosen)
}

// withoutCompanions leaves out what belongs to a model, unless there is nothing else.
func withoutCompanions(all []candidate) []candidate {
	var models []candidate
	for _, c := range all {
		if c.known && c.facts.Role() == gguf.Model || !c.known && (c.name == "" || gguf.IsModel(c.name) || isPart(c.name)) {
			models = append(models, c)
		}
	}
	if len(models) == 0 {
		return all[:1]
	}
	return models
}

func isPart(name string) bool {
	s, ok := gguf.ShardOf(path.Base(name))
	return ok && s.Index > 1
}

// group puts the files of each model together.
func group(all []candidate) [][]candidate {
	var models [][]candidate
	index := map[string]int{}
	for i, c := range all {
		key := fmt.Sprintf("file %d", i)
		shard, named := gguf.ShardOf(c.name)
		switch {
		case c.known && c.facts.Split.Count < 2:
		case c.known:
			key = fmt.Sprintf("%d parts of %s", c.facts.Split.Count, stem(c.name, named))
		case named:
			key = fmt.Sprintf("%d parts of %s", shard.Count, stem(c.name, named))
		case c.name == "":
			key = "the parts that nobody names"
		}
		at, ok := index[key]
		if !ok {
			at = len(models)
			index[key] = at
			models = append(models, nil)
		}
		models[at] = append(models[at], c)
	}
	for _, m := range models {
		slices.SortStableFunc(m, func(a, b candidate) int { return cmp.Compare(a.facts.Split.Index, b.facts.Split.Index) })
	}
	return models
}

// stem is what the names of a model's parts have in common, empty for other names.
func stem(name string, isShard bool) string {
	if !isShard {
		return ""
	}
	return gguf.Shards(name)[0]
}

// isComplete checks that a model whose headers say in how many files it is has all of them.
func isComplete(model []candidate) error {
	for i, c := range model {
		if s := c.facts.Split; c.known && s.Count > 1 && (s.Index != i || s.Count != len(model)) {
			return fmt.Errorf("the model is in %d files, and the artifact has %d of them", s.Count, len(model))
		}
	}
	return nil
}
