package gguf

import (
	"errors"
	"slices"
	"strings"
)

// mostLooks bounds how many headers are read for one choice.
const mostLooks = 8

// picker is the making of one choice.
type picker struct {
	files []string
	hints map[string]hint
	look  Look
	facts map[string]looked
	// alone says that every file that may be a model has such a word in its name, which then
	// can be the model's own.
	alone bool
}

type looked struct {
	facts Facts
	err   error
}

var errNoLook = errors.New("no header can be read")

func newPicker(files []string, look Look) *picker {
	p := &picker{hints: map[string]hint{}, facts: map[string]looked{}, look: look}
	for _, f := range files {
		if isFirst(f) && !slices.Contains(p.files, f) {
			p.files = append(p.files, f)
			p.hints[f] = hintOf(f)
		}
	}
	p.alone = len(p.all()) == 0
	return p
}

func (p *picker) with(h hint) []string {
	return filter(p.files, func(f string) bool { return p.hints[f] == h })
}

// groups are the files in the order in which they are looked through.
func (p *picker) groups() [][]string {
	return [][]string{p.with(none), p.with(inside), append(p.with(likely), p.with(projector)...)}
}

// all are the files that are models as far as their names tell.
func (p *picker) all() []string { return append(p.with(none), p.with(inside)...) }

// header reads a file's header once.
func (p *picker) header(file string) (Facts, error) {
	got, ok := p.facts[file]
	if !ok {
		got.err = errNoLook
		if p.look != nil && len(p.facts) < mostLooks {
			got.facts, got.err = p.look(file)
		}
		p.facts[file] = got
	}
	return got.facts, got.err
}

// models are those of some files that are models. One file whose name leaves no doubt is
// taken by its name.
func (p *picker) models(files []string) []string {
	if len(files) == 1 && p.hints[files[0]] == none {
		return files
	}
	return filter(files, p.isModel)
}

// first is the first of some files that is a model; empty where none is.
func (p *picker) first(files []string) string {
	for _, f := range files {
		if len(files) == 1 && p.hints[f] == none || p.isModel(f) {
			return f
		}
	}
	return ""
}

// isModel decides by the header. Where that cannot be read, the name does.
func (p *picker) isModel(file string) bool {
	f, err := p.header(file)
	switch {
	case p.hints[file] >= likely:
		return err == nil && (f.IsWhole() || p.alone && p.hints[file] == likely && f.Role() == Model)
	case err != nil:
		return true
	}
	return f.Role() == Model
}

// quantised are the models whose names say no quantisation, and whose headers say this one.
func (p *picker) quantised(quant string) []string {
	return filter(p.all(), func(file string) bool {
		if QuantOf(file) != "" {
			return false
		}
		f, err := p.header(file)
		return err == nil && f.Role() == Model && strings.EqualFold(f.Quant, quant)
	})
}
