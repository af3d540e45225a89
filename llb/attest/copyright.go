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
// machine-readable format 1.0 (DEP-5), the licence is all that its Files paragraphs
// and its header declare, joined with AND. That is of the source package: it may name
// a licence of files that are in no binary package, as those of debian/. Both results
// are empty for any other file.
//
// A name that SPDX does not know becomes a LicenseRef-, whose text is returned too.
func copyrightLicence(file []byte) (licence string, texts map[string]string) {
	stanzas, err := parseStanzas(file)
	// Half of a licence would be a wrong one.
	if err != nil || len(stanzas) == 0 || !strings.Contains(stanzas[0]["format"], "copyright-format/1.0") {
		return "", nil
	}
	// The text may stand once, in a paragraph of its own or with one of the Files.
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
			// The paragraph's own text first: not every "public-domain" says the same.
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
	// What an ignored part of a synopsis left behind is not a part of the result.
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

// The operators of a synopsis, the loosest first: "and" binds tighter than "or", and
// a comma before either makes it loose (copyright-format 1.0, "License specification").
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
	// orLater is how some files say "+".
	orLater = regexp.MustCompile(`(?i)\s+or(\s+any)?\s+later(\s+versions?)?\b`)
	// with is the format's way to name an exception.
	with = regexp.MustCompile(`(?i)^(\S+) with (\S+(?: \S+)*?)(?: exceptions?)?$`)
)

// parseSynopsis reads the first line of a License field. ref makes an expression of a
// name that SPDX does not know. It is false for a line that is no synopsis but the
// beginning of a text: short names have no spaces.
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

// licenceRef names a licence by what it is called and by its text: what packages call
// public-domain is not one licence. The text is never empty, as SPDX wants one.
func licenceRef(name, text string) (id, full string) {
	// Some begin the text where the name should be.
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
