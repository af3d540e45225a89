package store

import (
	"context"
	"encoding/json"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// companionsFile is where a model's folder keeps which files of a repository belong to
// which model. A store without it is whole: the repository can be asked again.
const companionsFile = ".companions.json"

// Companion is a file that belongs to a stored model.
type Companion struct {
	// Kind is what it is, as "mmproj".
	Kind string `json:"kind"`
	// File is its slash-separated path below the model's folder, Size its bytes.
	File string `json:"file"`
	Size int64  `json:"size"`

	name string
	// foreign is one that another tool put there.
	foreign bool
}

// allNames are the files of a model and of what belongs to it, below the snapshot.
func (m Stored) allNames() []string {
	out := slices.Clone(m.names)
	for _, c := range m.Companions {
		out = append(out, c.name)
	}
	return out
}

// withCompanions takes out of a folder's models those that only belong to others, which
// they are added to.
func withCompanions(models []Stored) []Stored {
	owned := map[string]bool{}
	for i := range models {
		m := &models[i]
		all := m.folder.companions()
		for _, c := range models {
			name := c.names[0]
			if c.commit != m.commit || name == m.names[0] {
				continue
			}
			kind := kindOf(all, m.commit, m.names[0], name)
			if kind == "" {
				continue
			}
			owned[c.Path] = true
			m.Companions = append(m.Companions, Companion{Kind: kind, File: c.Files[0], Size: c.Size, name: name, foreign: c.Foreign})
			m.contents = append(m.contents, c.contents...)
			if c.Used.After(m.Used) {
				m.Used = c.Used
			}
		}
	}
	return slices.DeleteFunc(models, func(m Stored) bool { return owned[m.Path] })
}

// ownedBy are the companions of a model that go with it: they belong to no other one, and
// no other tool put them there unless the model is that tool's too.
func (d Folder) ownedBy(m Stored) []string {
	recorded := d.companions()
	own := companionOf(m.commit, m.names[0], "")
	var out []string
	for _, c := range m.Companions {
		shared := c.foreign && !m.Foreign
		for key, name := range recorded {
			shared = shared || name == c.name && strings.HasPrefix(key, m.commit+"/") && !strings.HasPrefix(key, own)
		}
		if !shared {
			out = append(out, c.name)
		}
	}
	return out
}

// kindOf is what a file is to a model by what was recorded; empty where it is nothing.
func kindOf(recorded map[string]string, commit, model, file string) string {
	prefix := companionOf(commit, model, "")
	for key, name := range recorded {
		if kind, ok := strings.CutPrefix(key, prefix); ok && name == file {
			return kind
		}
	}
	return ""
}

// companionOf is the key of a model's companion in companionsFile.
func companionOf(commit, file, kind string) string { return path.Join(commit, file) + "#" + kind }

func (d Folder) companions() map[string]string {
	out := map[string]string{}
	b, err := os.ReadFile(d.path(companionsFile))
	if err == nil && json.Unmarshal(b, &out) != nil {
		return map[string]string{}
	}
	return out
}

// Companion is the file of a repository that belongs to a model of it, as it was recorded;
// empty for none. Known is false where nothing was recorded.
func (d Folder) Companion(commit, file, kind string) (companion string, known bool) {
	companion, known = d.companions()[companionOf(commit, file, kind)]
	return companion, known
}

// SetCompanion records which file of a repository belongs to a model of it; an empty one
// says that none does. A failure is ignored: then the repository is asked again.
func (d Folder) SetCompanion(commit, file, kind, companion string) {
	d.changeCompanions(func(all map[string]string) { all[companionOf(commit, file, kind)] = companion })
}

// forgetCompanions removes what is recorded about a model.
func (d Folder) forgetCompanions(commit, file string) {
	if _, err := os.Stat(d.path(companionsFile)); err != nil {
		return
	}
	d.changeCompanions(func(all map[string]string) {
		for key := range all {
			if strings.HasPrefix(key, companionOf(commit, file, "")) {
				delete(all, key)
			}
		}
	})
}

func (d Folder) changeCompanions(change func(all map[string]string)) {
	release, err := d.Lock(context.Background(), "companions", func() {})
	if err != nil {
		return
	}
	defer release()
	all := d.companions()
	change(all)
	if len(all) == 0 {
		_ = os.Remove(d.path(companionsFile))
		return
	}
	if b, err := json.MarshalIndent(all, "", "  "); err == nil {
		_ = renameio.WriteFile(d.path(companionsFile), append(b, '\n'), fileMode, renameio.WithStaticPermissions(fileMode))
	}
}
