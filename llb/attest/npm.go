package attest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
)

// npmLock has the fields of package-lock.json that we read, format 2 or 3
// (docs.npmjs.com/cli/configuring-npm/package-lock-json).
type npmLock struct {
	Version int `json:"lockfileVersion"`
	// Packages maps folders to packages: node_modules/a/node_modules/@scope/b.
	Packages map[string]npmEntry `json:"packages"`
}

type npmEntry struct {
	// Name is set if it differs from the folder's.
	Name        string          `json:"name"`
	Version     string          `json:"version"`
	Resolved    string          `json:"resolved"`
	Integrity   string          `json:"integrity"`
	License     json.RawMessage `json:"license"`
	Link        bool            `json:"link"`
	Optional    bool            `json:"optional"`
	DevOptional bool            `json:"devOptional"`
	OS          npmList         `json:"os"`
	CPU         npmList         `json:"cpu"`
	Libc        npmList         `json:"libc"`
}

// npmList is a list, or a single value without brackets.
type npmList []string

func (l *npmList) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*l = npmList{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// npmCPUs maps Go's architectures to npm's names.
var npmCPUs = map[string]string{"amd64": "x64", "arm64": "arm64"}

const nodeModules = "node_modules/"

// NPMPackages returns the packages of a package-lock.json, sorted by name and version,
// without duplicates. arch is the architecture, in Go's spelling, of the Linux machine that
// builds the web UI: npm does not install optional packages for other platforms, so they
// are left out. Development dependencies are included, because a bundler's input comes from
// them. Folders of the tree itself are not packages. A file that is not such a lock is an
// error.
func NPMPackages(lock []byte, arch string) ([]Package, error) {
	cpu, ok := npmCPUs[arch]
	if !ok {
		return nil, fmt.Errorf("architecture must be one of %s, got %q", strings.Join(slices.Sorted(maps.Keys(npmCPUs)), ", "), arch)
	}
	var l npmLock
	if err := json.Unmarshal(lock, &l); err != nil {
		return nil, fmt.Errorf("package-lock.json: %w", err)
	}
	if l.Version != 2 && l.Version != 3 {
		return nil, fmt.Errorf("package-lock.json: lockfileVersion must be 2 or 3, got %d", l.Version)
	}
	var out []Package
	seen := map[string]bool{}
	for _, folder := range slices.Sorted(maps.Keys(l.Packages)) {
		i := strings.LastIndex(folder, nodeModules)
		e := l.Packages[folder]
		if i < 0 || e.Link || l.leftOut(folder, cpu) {
			continue
		}
		name := folder[i+len(nodeModules):]
		if e.Name != "" {
			name = e.Name
		}
		p, err := e.pack(name)
		if err != nil {
			return nil, fmt.Errorf("package-lock.json: %s: %w", folder, err)
		}
		if d := p.digest(); !seen[d] {
			seen[d] = true
			out = append(out, p)
		}
	}
	slices.SortFunc(out, comparePackages)
	return out, nil
}

// leftOut reports whether npm skips the package of a folder, or a package that contains it.
func (l npmLock) leftOut(folder, cpu string) bool {
	for {
		e := l.Packages[folder]
		if (e.Optional || e.DevOptional) && (!e.OS.has("linux") || !e.CPU.has(cpu) || !e.Libc.has("glibc")) {
			return true
		}
		i := strings.LastIndex(folder, "/"+nodeModules)
		if i < 0 {
			return false
		}
		folder = folder[:i]
	}
}

// has follows npm's rule (npm-install-checks): a list allows the values that it names. A
// list with only exclusions allows all others.
func (l npmList) has(value string) bool {
	named, excluding := false, true
	for _, v := range l {
		if no, ok := strings.CutPrefix(v, "!"); ok {
			if no == value {
				return false
			}
			continue
		}
		excluding = false
		named = named || v == value || v == "any"
	}
	return named || excluding
}

func (e npmEntry) pack(name string) (Package, error) {
	namespace, base := "", name
	if i := strings.LastIndex(name, "/"); i >= 0 {
		namespace, base = name[:i], name[i+1:]
	}
	p := Package{Kind: KindNPM, Name: name, Version: e.Version, PURL: purl("npm", namespace, base, e.Version, nil)}
	// A URL may contain a password. Other schemes are paths in the tree.
	if u, err := url.Parse(e.Resolved); err == nil && u.User == nil && (u.Scheme == "https" || u.Scheme == "http") {
		p.Source = e.Resolved
	}
	// Many values are not expressions ("SEE LICENSE IN x"). Their licence is unknown.
	var licence string
	if json.Unmarshal(e.License, &licence) == nil {
		if good, _ := spdxexp.ValidateAndNormalizeLicensesWithOptions([]string{licence}, spdxexp.ValidateLicensesOptions{}); len(good) == 1 && len(licenceRefs(licence)) == 0 {
			p.Licence = good[0]
		}
	}
	// Subresource integrity: algorithm-base64, several separated by spaces.
	for _, one := range strings.Fields(e.Integrity) {
		algorithm, value, _ := strings.Cut(one, "-")
		sum, err := base64.StdEncoding.DecodeString(value)
		want, known := hexLength[strings.ToUpper(algorithm)]
		if err != nil || !known || want != 2*len(sum) {
			return Package{}, fmt.Errorf("%q is not a digest", one)
		}
		if p.Checksums == nil {
			p.Checksums = map[string]string{}
		}
		p.Checksums[strings.ToUpper(algorithm)] = hex.EncodeToString(sum)
	}
	return p, nil
}
