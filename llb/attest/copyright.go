package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// copyrightLicence reads a Debian package's copyright file. If it is in the
// machine-readable format 1.0 (DEP-5), the licence joins the declarations of its Files
// paragraphs and its header with AND. The file covers the source package, so it can list
// licences of files that are in no binary package, such as those of debian/. Both results
// are empty for any other file.
//
// A name that SPDX does not have becomes a LicenseRef-, whose text is also returned.
func copyrightLicence(file []byte) (licence string, texts map[string]string) {
	stanzas, err := parseStanzas(file)
	// An incomplete licence would be wrong.
	if err != nil || len(stanzas) == 0 || !strings.Contains(stanzas[0]["format"], "copyright-format/1.0") {
		return "", nil
	}
	// A licence's text can be in only one place: a paragraph of its own or a Files paragraph.
	known := map[string]string{}
	for _, s := range stanzas {
		name, text := s.first("license")
		if key := strings.ToLower(name); text != "" && known[key] == "" {
			known[key] = text
		}
	}
	texts = map[string]string{}
	var all []expression
	for i, s := range stanzas {
		synopsis, text := s.first("license")
		_, files := s["files"]
		if i > 0 && !files || synopsis == "" && text == "" {
			continue
		}
		ref := func(name string) expression {
			// The paragraph's own text first, because texts of "public-domain" differ.
			text := text
			if text == "" {
				text = known[strings.ToLower(name)]
			}
			id, text := licenceRef(name, text)
			texts[id] = text
			return expression{name: id}
		}
		e, ok := parseSynopsis(synopsis, ref)
		if !ok {
			e = ref(synopsis)
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return "", nil
	}
	licence = expression{op: "AND", args: all}.String()
	// Drop texts that the licence does not refer to. Some come from synopses that failed
	// to parse.
	for id := range texts {
		if !slices.Contains(licenceRefs(licence), id) {
			delete(texts, id)
		}
	}
	if len(texts) == 0 {
		texts = nil
	}
	return licence, texts
}

// The operators of a synopsis, loosest first: "and" binds tighter than "or", and a comma
// before either makes it looser (copyright-format 1.0, "License specification").
var operators = []struct {
	op string
	at *regexp.Regexp
}{
	{"OR", regexp.MustCompile(`(?i),\s+or\s+`)},
	{"AND", regexp.MustCompile(`(?i),\s+and\s+`)},
	{"OR", regexp.MustCompile(`(?i)\s+or\s+`)},
	{"AND", regexp.MustCompile(`(?i)\s+and\s+`)},
}

var (
	// orLater matches what some files write instead of "+".
	orLater = regexp.MustCompile(`(?i)\s+or(\s+any)?\s+later(\s+versions?)?\b`)
	// with matches the format's notation for an exception.
	with = regexp.MustCompile(`(?i)^(\S+) with (\S+(?: \S+)*?)(?: exceptions?)?$`)
)

// parseSynopsis reads the first line of a License field. ref makes an expression from a
// name that SPDX does not have. The result is false if the line is the beginning of a
// text and not a synopsis: short names have no spaces.
func parseSynopsis(s string, ref func(name string) expression) (expression, bool) {
	s = orLater.ReplaceAllString(strings.TrimSpace(s), "+")
	for _, o := range operators {
		parts := o.at.Split(s, -1)
		if len(parts) == 1 {
			continue
		}
		e := expression{op: o.op}
		for _, part := range parts {
			arg, ok := parseSynopsis(part, ref)
			if !ok {
				return expression{}, false
			}
			e.args = append(e.args, arg)
		}
		return e, true
	}
	if id := spdxName(s); id != "" {
		return expression{name: id}, true
	}
	if m := with.FindStringSubmatch(s); m != nil {
		id, exception := spdxName(m[1]), exceptions[strings.ToLower(m[2])]
		if id != "" && exception != "" {
			return expression{name: id + " WITH " + exception}, true
		}
		return ref(s), true
	}
	if s == "" || strings.ContainsAny(s, " \t,") {
		return expression{}, false
	}
	return ref(s), true
}

var notID = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// licenceRef makes an id from a licence's name and text, because different licences are
// called public-domain. The text is never empty, which SPDX requires.
func licenceRef(name, text string) (id, full string) {
	// In some files the text begins on the line of the name.
	if strings.ContainsAny(name, " \t") && with.FindString(name) == "" && text != "" {
		text = name + "\n" + text
	}
	full = strings.TrimSpace(text)
	if full == "" {
		full = fmt.Sprintf("The package's copyright file calls this licence %q and does not have its text.", name)
	}
	short := strings.Trim(notID.ReplaceAllString(name, "-"), "-")
	if len(short) > 40 {
		short = strings.TrimRight(short[:40], "-.")
	}
	if short == "" {
		short = "unnamed"
	}
	sum := sha256.Sum256([]byte(name + "\n" + full))
	return "LicenseRef-" + short + "-" + hex.EncodeToString(sum[:4]), full
}
