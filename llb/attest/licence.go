package attest

import (
	"regexp"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
	"github.com/github/go-spdx/v2/spdxexp/spdxlicenses"
)

// expression is an SPDX licence expression: a name, or an operator with its operands.
type expression struct {
	name string
	op   string
	args []expression
}

// String is canonical: operands are sorted and unique, and operands that are expressions
// have parentheses, so that readers need not know the precedence.
func (e expression) String() string {
	if e.op == "" {
		return e.name
	}
	var terms []string
	for _, arg := range e.flat() {
		terms = append(terms, arg.String())
	}
	slices.Sort(terms)
	terms = slices.Compact(terms)
	if len(terms) > 1 {
		for i, t := range terms {
			if strings.Contains(t, " OR ") || strings.Contains(t, " AND ") {
				terms[i] = "(" + t + ")"
			}
		}
	}
	return strings.Join(terms, " "+e.op+" ")
}

// flat returns the operands, and replaces those with the same operator by their operands.
func (e expression) flat() []expression {
	var out []expression
	for _, arg := range e.args {
		if arg.op == e.op {
			out = append(out, arg.flat()...)
		} else {
			out = append(out, arg)
		}
	}
	return out
}

// shortNames maps short names of copyright-format 1.0, and others in Debian's files, to
// SPDX ids, if they differ in more than case.
var shortNames = map[string]string{
	"expat": "MIT",
	// /usr/share/common-licenses/Artistic has the ten clauses of Perl's.
	"artistic": "Artistic-1.0-Perl",
	"apache-2": "Apache-2.0",
	// Used by LLVM's packages.
	"apache-2-llvm-exceptions": "Apache-2.0 WITH LLVM-exception",
	"bsd-2":                    "BSD-2-Clause",
	"bsd-3":                    "BSD-3-Clause",
	"bsd-4":                    "BSD-4-Clause",
	"cc0":                      "CC0-1.0",
	"openldap-2.8":             "OLDAP-2.8",
	"mpl-2":                    "MPL-2.0",
}

// exceptions maps unambiguous names of exceptions to SPDX ids. "Autoconf" and "OpenSSL",
// for example, are missing because each stands for several.
var exceptions = map[string]string{
	"classpath":           "Classpath-exception-2.0",
	"gcc-runtime-library": "GCC-exception-3.1",
	"libtool":             "Libtool-exception",
	"linux-syscall-note":  "Linux-syscall-note",
	"llvm":                "LLVM-exception",
}

// gnu matches names of GNU licences with a version: GPL-2+, LGPLv2.1, GFDL-NIV-1.3+.
var gnu = regexp.MustCompile(`(?i)^(AGPL|GFDL|GPL|LGPL)(-NIV)?-?v?(\d)(\.\d)?(\+|-only|-or-later)?$`)

// spdxName is the id or simple expression for a short name; empty if SPDX has none. Names
// without a version (GPL) have none, because the version is unknown.
func spdxName(name string) string {
	if m := gnu.FindStringSubmatch(name); m != nil {
		minor := m[4]
		if minor == "" {
			minor = ".0"
		}
		id := strings.ToUpper(m[1]) + "-" + m[3] + minor
		if m[2] != "" {
			id += "-no-invariants"
		}
		if m[5] == "+" || strings.EqualFold(m[5], "-or-later") {
			id += "-or-later"
		} else {
			id += "-only"
		}
		if ok, id := spdxlicenses.IsActiveLicense(id); ok {
			return id
		}
		return ""
	}
	base, plus := strings.CutSuffix(name, "+")
	id, known := shortNames[strings.ToLower(base)]
	if !known {
		if known, id = spdxlicenses.IsActiveLicense(base); !known {
			return ""
		}
	}
	if plus {
		id += "+"
	}
	return id
}

// validLicence reports whether SPDX allows an expression.
func validLicence(expression string) bool {
	ok, _ := spdxexp.ValidateLicenses([]string{expression})
	return ok
}

var refName = regexp.MustCompile(`LicenseRef-[A-Za-z0-9.-]+`)

// licenceRefs are the names in an expression that the document itself defines.
func licenceRefs(expression string) []string { return refName.FindAllString(expression, -1) }
