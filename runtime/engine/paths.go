package engine

import (
	"encoding/csv"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// Use is what a server does with a path that one of its flags names.
type Use int

// The uses.
const (
	// ReadsFile is a file that the server reads.
	ReadsFile Use = iota
	// ReadsSecret is a file with a secret that the server reads.
	ReadsSecret
	// ReadsFolder is a folder that the server reads from.
	ReadsFolder
	// WritesFolder is a folder that the server writes to, and reads again when it is
	// started anew.
	WritesFolder
	// WritesFile is a file that the server writes.
	WritesFile
)

// Path is a path of the host that a flag of the server names.
type Path struct {
	// Flag is the flag as the user wrote it.
	Flag string
	// Name is one name for all spellings of the flag, without dashes.
	Name string
	// Value is the path as the user wrote it.
	Value string
	Use   Use
}

// Paths is the host as flags see it.
type Paths interface {
	// Is says whether the host has a file or a folder at a path.
	Is(path string) bool
	// Place makes what is at a path part of what the server sees, and returns the path
	// that the server gets: one without commas, colons and quotes.
	Place(p Path) (string, error)
}

// form is how a value holds paths.
type form int

const (
	onePath form = iota
	// listed is paths with commas between them, as in the rows of a CSV file.
	listed
	// scaled is the same, each path with a colon and a number behind it. Before 2026 it
	// was one path, and the number was a word of its own.
	scaled
)

// pathFlag is a flag of the server that names paths.
type pathFlag struct {
	// names are its spellings, long ones without their dashes, the first its Name.
	names []string
	use   Use
	form  form
}

// pathFlags are those of llama.cpp's server from April 2025 to today (common/arg.cpp).
var pathFlags = []pathFlag{
	{names: []string{"mmproj", "-mm"}},
	{names: []string{"model-draft", "spec-draft-model", "-md"}},
	{names: []string{"model-vocoder", "-mv"}},
	{names: []string{"lora"}, form: listed},
	{names: []string{"lora-scaled"}, form: scaled},
	{names: []string{"control-vector"}, form: listed},
	{names: []string{"control-vector-scaled"}, form: scaled},
	{names: []string{"lookup-cache-static", "-lcs"}},
	{names: []string{"lookup-cache-dynamic", "-lcd"}},
	{names: []string{"chat-template-file"}},
	{names: []string{"grammar-file"}},
	{names: []string{"json-schema-file", "-jf"}},
	{names: []string{"system-prompt-file", "-sysf", "-spf"}},
	{names: []string{"file", "-f"}},
	{names: []string{"binary-file", "-bf"}},
	{names: []string{"tts-speaker-file"}},
	{names: []string{"ui-config-file", "webui-config-file"}},
	{names: []string{"models-preset"}},
	{names: []string{"ssl-cert-file"}},
	{names: []string{"ssl-key-file"}, use: ReadsSecret},
	{names: []string{"api-key-file"}, use: ReadsSecret},
	// The programs that it lists are most often given their tokens there.
	{names: []string{"mcp-servers-config"}, use: ReadsSecret},
	{names: []string{"path"}, use: ReadsFolder},
	{names: []string{"media-path"}, use: ReadsFolder},
	{names: []string{"models-dir"}, use: ReadsFolder},
	{names: []string{"video-ffmpeg-dir"}, use: ReadsFolder},
	{names: []string{"slot-save-path"}, use: WritesFolder},
	{names: []string{"log-prompts-dir"}, use: WritesFolder},
	{names: []string{"log-file"}, use: WritesFile},
}

// pathFlagOf finds a flag among pathFlags.
func pathFlagOf(flag string) (pathFlag, bool) {
	name, long := longName(flag)
	if !long {
		name = flag
	}
	if long == strings.HasPrefix(name, "-") {
		return pathFlag{}, false // a word that is no flag, or three dashes
	}
	for _, f := range pathFlags {
		if slices.Contains(f.names, name) {
			return f, true
		}
	}
	return pathFlag{}, false
}

// likePathFlag takes a flag that is named like one for a path, as those of servers to
// come may be, for one where the host has what it names.
func likePathFlag(flag, value string, paths Paths) (pathFlag, bool) {
	name, long := longName(flag)
	if !long || instead(flag) != "" || !paths.Is(value) {
		return pathFlag{}, false
	}
	for suffix, use := range map[string]Use{"-file": ReadsFile, "-dir": ReadsFolder} {
		if strings.HasSuffix(name, suffix) {
			return pathFlag{names: []string{name}, use: use}, true
		}
	}
	return pathFlag{}, false
}

// WithPaths replaces, in what the user gave after "--", each path of the host by the one
// under which the server sees it. The errors of all paths are one fault.Usage.
func WithPaths(user []string, paths Paths) ([]string, error) {
	w := pathWalk{words: user, paths: paths}
	for w.next() {
	}
	if len(w.errs) > 0 {
		return nil, join(w.errs)
	}
	return w.out, nil
}

// pathWalk is a walk over the words that the user gave.
type pathWalk struct {
	words []string
	paths Paths
	out   []string
	errs  []error
}

// take removes and returns the next word.
func (w *pathWalk) take() string {
	word := w.words[0]
	w.words = w.words[1:]
	return word
}

// next deals with one flag; false at the end.
func (w *pathWalk) next() bool {
	if len(w.words) == 0 {
		return false
	}
	word := w.take()
	flag, value, joined := splitFlag(word)
	f, ok := pathFlagOf(flag)
	if !ok {
		beside := value
		if !joined && len(w.words) > 0 {
			beside = w.words[0]
		}
		f, ok = likePathFlag(flag, beside, w.paths)
	}
	switch {
	case !ok && !joined && takesText(canonical(flag)) && len(w.words) > 0:
		w.out = append(w.out, word, w.take())
	case !ok:
		w.out = append(w.out, word)
	case joined:
		w.place(flag, value, f)
	case len(w.words) == 0:
		w.errs = append(w.errs, noValue(flag))
	default:
		w.place(flag, w.take(), f)
	}
	return true
}

// place replaces the paths in a value.
func (w *pathWalk) place(flag, value string, f pathFlag) {
	one := func(path string) string {
		at, err := w.paths.Place(Path{Flag: flag, Name: f.names[0], Value: path, Use: f.use})
		if err != nil {
			w.errs = append(w.errs, err)
		}
		return at
	}
	switch {
	case f.form == scaled && w.isPathBeforeScale(value):
		w.out = append(w.out, flag, one(value), w.take())
		return
	case f.form == onePath, f.form == listed && w.paths.Is(value):
		w.out = append(w.out, flag, one(value))
		return
	}
	items := fields(value)
	for i, item := range items {
		if f.form == listed {
			items[i] = one(item)
			continue
		}
		colon := strings.LastIndex(item, ":")
		if colon < 0 {
			w.errs = append(w.errs, fault.New(fault.Usage, flag+" "+item+" has no scale", errors.New("it is written FILE:SCALE"), "write the scale behind the file, as in file.gguf:0.5"))
			continue
		}
		items[i] = one(item[:colon]) + item[colon:]
	}
	w.out = append(w.out, flag, strings.Join(items, ","))
}

// isPathBeforeScale says whether a value is a path whose scale is the next word.
func (w *pathWalk) isPathBeforeScale(value string) bool {
	if len(w.words) == 0 || !w.paths.Is(value) {
		return false
	}
	_, err := strconv.ParseFloat(w.words[0], 64)
	return err == nil
}

// fields are the values in a row of a CSV file.
func fields(row string) []string {
	r := csv.NewReader(strings.NewReader(row))
	r.LazyQuotes = true
	out, err := r.Read()
	if err != nil {
		return strings.Split(row, ",")
	}
	return out
}
