package store

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"time"
)

// usesFile is where a model's folder keeps who used which file, and when. A store without
// it is whole: it is not content.
const usesFile = ".uses.json"

// use is the last use of one file.
type use struct {
	At  time.Time `json:"at"`
	By  []string  `json:"by,omitempty"`
	Ref string    `json:"ref,omitempty"`
	// Refs are all refs that it was used by, at most maxRefs of them, the last one last.
	Refs []string `json:"refs,omitempty"`
}

const maxRefs = 16

// useOf is the key of a file in usesFile.
func useOf(commit, file string) string { return commit + "/" + file }

func (d Folder) uses() map[string]use {
	out := map[string]use{}
	b, err := os.ReadFile(d.path(usesFile))
	if err == nil && json.Unmarshal(b, &out) != nil {
		return map[string]use{}
	}
	return out
}

// changeUses rewrites the uses under a lock. A failure is ignored, because a store that
// cannot be written still serves what it has.
func (d Folder) changeUses(change func(all map[string]use)) {
	release, err := d.Lock(context.Background(), "uses", func() {})
	if err != nil {
		return
	}
	defer release()
	all := d.uses()
	change(all)
	if len(all) == 0 {
		_ = os.Remove(d.path(usesFile))
		return
	}
	if b, err := json.MarshalIndent(all, "", "  "); err == nil {
		_ = writeFile(d.path(usesFile), append(b, '\n'))
	}
}

// Use records that a file was used now, by whom (empty for nobody in particular) and by
// which ref.
func (d Folder) Use(commit, file, ref, by string, now time.Time) {
	d.changeUses(func(all map[string]use) {
		u := all[useOf(commit, file)]
		u.At, u.Ref = now.UTC().Truncate(time.Second), ref
		if ref != "" {
			u.Refs = append(slices.DeleteFunc(u.Refs, func(r string) bool { return r == ref }), ref)
			u.Refs = u.Refs[max(0, len(u.Refs)-maxRefs):]
		}
		if by != "" && !slices.Contains(u.By, by) {
			u.By = append(u.By, by)
		}
		all[useOf(commit, file)] = u
	})
}
