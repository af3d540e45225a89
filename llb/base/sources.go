package base

import (
	"bufio"
	"bytes"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
)

// keyring is the file of the archive's keys in the package debian-archive-keyring, on which
// apt depends, in the host and in the image. From trixie on, some of the package's releases
// do not put the keys where apt trusts them for every repository, so the image's sources
// name the file.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// released are the suites with updates and security archives.
var released = []string{"bullseye", "bookworm", "trixie", "oldstable", "stable"}

// sources says where a suite is downloaded from.
type sources struct {
	// mirror and security are the archives' URLs. If mirror is empty, mmdebstrap uses
	// Debian's own for both.
	mirror, security string
	// signedBy is the keyring to name, if the host has it.
	signedBy string
}

// arguments are mmdebstrap's MIRROR arguments.
func (s sources) arguments(suite string) []string {
	if s.mirror == "" {
		return nil
	}
	var option string
	if s.signedBy != "" {
		option = "[signed-by=" + s.signedBy + "] "
	}
	lines := []string{"deb " + option + s.mirror + " " + suite + " main"}
	if slices.Contains(released, suite) {
		lines = append(lines, "deb "+option+s.mirror+" "+suite+"-updates main")
		if s.security != "" {
			lines = append(lines, "deb "+option+s.security+" "+suite+"-security main")
		}
	}
	return lines
}

// tls reports whether apt in the image needs certificates to read its own sources.
func (s sources) tls() bool {
	return strings.HasPrefix(s.mirror, "https:") || strings.HasPrefix(s.security, "https:")
}

// hostSources takes the URLs from a Debian host's own apt configuration, because its
// administrator knows a reachable mirror. It is empty on other distributions, whose mirrors
// do not have Debian.
func hostSources(host fs.FS) sources {
	var s sources
	release := parseRelease(host)
	if release["ID"] != "debian" {
		return s
	}
	own := []string{release["VERSION_CODENAME"], "oldstable", "stable", "testing", "unstable", "sid"}
	for _, e := range hostEntries(host) {
		uri := usable(host, e.uri)
		// Third parties also use Debian's suite names, and some its component. Only the
		// keyring or the path identifies the archive.
		debian := strings.Contains(e.signedBy, "debian-archive") || strings.Contains(uri, "/debian")
		if uri == "" || !debian || !slices.Contains(e.components, "main") {
			continue
		}
		for _, suite := range e.suites {
			switch name, isSecurity := strings.CutSuffix(suite, "-security"); {
			case isSecurity && s.security == "" && slices.Contains(own, name):
				s.security = uri
			case !isSecurity && s.mirror == "" && slices.Contains(own, suite):
				s.mirror = uri
			}
		}
	}
	if s.mirror == "" {
		return sources{}
	}
	if _, err := fs.Stat(host, strings.TrimPrefix(keyring, "/")); err == nil {
		s.signedBy = keyring
	}
	return s
}

// usable is the URL as the image may contain it: HTTP or HTTPS without a password, else
// empty. Cloud images have a list of mirrors instead; the first one is used.
func usable(host fs.FS, uri string) string {
	if list, ok := strings.CutPrefix(uri, "mirror+file:"); ok {
		raw, _ := fs.ReadFile(host, strings.Trim(path.Clean(list), "/"))
		uri = ""
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
				uri = f[0]
				break
			}
		}
	}
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return ""
	}
	return strings.TrimSuffix(uri, "/")
}

// entry is one enabled source of binary packages.
type entry struct {
	uri                string
	suites, components []string
	signedBy           string
}

// hostEntries reads apt's sources in apt's order.
func hostEntries(host fs.FS) []entry {
	const dir = "etc/apt/sources.list.d"
	files := []string{"etc/apt/sources.list"}
	listing, _ := fs.ReadDir(host, dir)
	for _, f := range listing {
		files = append(files, path.Join(dir, f.Name()))
	}
	var all []entry
	for _, f := range files {
		raw, err := fs.ReadFile(host, f)
		if err != nil {
			continue
		}
		switch path.Ext(f) {
		case ".list":
			all = append(all, parseOneLine(raw)...)
		case ".sources":
			all = append(all, parseStanzas(raw)...)
		}
	}
	return all
}

// parseOneLine reads the classic format of sources.list(5).
func parseOneLine(raw []byte) []entry {
	var all []entry
	for line := range strings.Lines(string(raw)) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		var e entry
		rest = strings.TrimSpace(rest)
		if options, after, ok := strings.Cut(rest, "]"); ok && strings.HasPrefix(options, "[") {
			rest = after
			for _, o := range strings.Fields(options[1:]) {
				if v, ok := strings.CutPrefix(o, "signed-by="); ok {
					e.signedBy = v
				}
			}
		}
		if f := strings.Fields(rest); len(f) > 2 {
			e.uri, e.suites, e.components = f[0], f[1:2], f[2:]
			all = append(all, e)
		}
	}
	return all
}

// parseStanzas reads the deb822 format of sources.list(5).
func parseStanzas(raw []byte) []entry {
	var all []entry
	fields := map[string]string{}
	flush := func() {
		if slices.Contains(strings.Fields(fields["types"]), "deb") && !strings.EqualFold(strings.TrimSpace(fields["enabled"]), "no") {
			for _, uri := range strings.Fields(fields["uris"]) {
				all = append(all, entry{
					uri: uri, suites: strings.Fields(fields["suites"]),
					components: strings.Fields(fields["components"]), signedBy: fields["signed-by"],
				})
			}
		}
		clear(fields)
	}
	var last string
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += "\n" + line
		default:
			key, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(key)
			fields[last] = value
		}
	}
	flush()
	return all
}

// parseRelease reads os-release(5).
func parseRelease(host fs.FS) map[string]string {
	fields := map[string]string{}
	raw, err := fs.ReadFile(host, "etc/os-release")
	if err != nil {
		raw, _ = fs.ReadFile(host, "usr/lib/os-release")
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[key] = strings.Trim(value, `"'`)
		}
	}
	return fields
}
