package attest

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var (
	sourceField = regexp.MustCompile(`^(\S+)(?: \((\S+)\))?$`)
	mailbox     = regexp.MustCompile(`^"?([^"<]*[^"< ])"? *<([^>]*)>`)
)

// DebianPackages describes an image's Debian packages, sorted by name.
//
// status maps each package's name to its control file, as dpkg-deb -f prints it. copyrights
// maps it to /usr/share/doc/NAME/copyright; a package may lack one. distro and release are
// ID and VERSION_ID of the image's os-release, such as debian and 13. The error lists all
// control files that lack a required field. An unknown licence is not an error: see
// [Package.Licence].
//
// Package URLs have the qualifier upstream, in addition to those of purl type deb. Scanners
// find the source package by it (Syft introduced it, Grype reads it).
func DebianPackages(status, copyrights map[string][]byte, distro, release string) ([]Package, error) {
	var out []Package
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(status)) {
		p, err := debianPackage(status[name], distro, release)
		if err == nil && p.Name != name {
			err = fmt.Errorf("it is for package %q", p.Name)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("control file of package %q: %w", name, err))
			continue
		}
		p.Licence, p.LicenceTexts = copyrightLicence(copyrights[name])
		out = append(out, p)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return out, nil
}

func debianPackage(control []byte, distro, release string) (Package, error) {
	stanzas, err := parseStanzas(control)
	if err != nil {
		return Package{}, err
	}
	if len(stanzas) != 1 {
		return Package{}, fmt.Errorf("it must have one paragraph, got %d", len(stanzas))
	}
	s := stanzas[0]
	for _, field := range []string{"Package", "Version", "Architecture"} {
		if s[strings.ToLower(field)] == "" {
			return Package{}, fmt.Errorf("it has no field %s", field)
		}
	}
	name, version := s["package"], s["version"]
	// Without the field, source and binary have the same name and version (deb-control(5)).
	from, fromVersion := name, version
	if m := sourceField.FindStringSubmatch(s["source"]); m != nil {
		from = m[1]
		if m[2] != "" {
			fromVersion = m[2]
		}
	}
	upstream := ""
	switch {
	case fromVersion != version:
		upstream = from + "@" + fromVersion
	case from != name:
		upstream = from
	}
	p := Package{
		Kind: KindDebian, Name: name, Version: version, BuiltFrom: from + " " + fromVersion,
		PURL: purl("deb", distro, name, version, map[string]string{
			"arch": s["architecture"], "distro": distro + "-" + release, "upstream": upstream,
		}),
	}
	// The field does not distinguish persons from teams; nearly all of a base's are teams.
	if m := mailbox.FindStringSubmatch(s["maintainer"]); m != nil {
		p.Supplier = fmt.Sprintf("Organization: %s (%s)", m[1], m[2])
	}
	return p, nil
}
