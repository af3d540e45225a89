package base

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const bookworm = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n"

func hostFS(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func TestHostSources(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  sources
		lines []string
	}{
		{
			name: "deb822, with third parties first",
			files: map[string]string{
				"etc/os-release": bookworm,
				keyring[1:]:      "keys",
				"etc/apt/sources.list": "# nothing here\ndeb https://example.test/linux/debian bookworm stable\n" +
					"deb https://example.test/apt bookworm main\n",
				"etc/apt/sources.list.d/debian.sources": "Types: deb\n# a comment\nURIs: http://mirror.test/debian/\nSuites: bookworm bookworm-updates\n" +
					"Components: main\n\nTypes: deb\nURIs: http://mirror.test/debian-security\nSuites: bookworm-security\nComponents: main\n",
				"etc/apt/sources.list.d/node.sources": "Types: deb\nURIs: https://node.test/debian\nSuites: nodistro\nComponents: main\n",
			},
			want: sources{mirror: "http://mirror.test/debian", security: "http://mirror.test/debian-security", signedBy: keyring},
			lines: []string{
				"deb [signed-by=" + keyring + "] http://mirror.test/debian trixie main",
				"deb [signed-by=" + keyring + "] http://mirror.test/debian trixie-updates main",
				"deb [signed-by=" + keyring + "] http://mirror.test/debian-security trixie-security main",
			},
		},
		{
			name: "one line per source, told by its keyring, no security",
			files: map[string]string{
				"etc/os-release": bookworm,
				"etc/apt/sources.list": "deb-src http://m.test/d bookworm main\n" +
					"deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] https://m.test/d bookworm main contrib # ours\n",
			},
			want:  sources{mirror: "https://m.test/d"},
			lines: []string{"deb https://m.test/d trixie main", "deb https://m.test/d trixie-updates main"},
		},
		{
			name: "a cloud image's list of mirrors",
			files: map[string]string{
				"etc/os-release":                        bookworm,
				"etc/apt/mirrors/debian.list":           "# first wins\nhttp://cloud.test/debian\nhttp://other.test/debian\n",
				"etc/apt/sources.list.d/debian.sources": "Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: bookworm\nComponents: main\nSigned-By:\n /usr/share/keyrings/debian-archive-keyring.gpg\n",
			},
			want:  sources{mirror: "http://cloud.test/debian"},
			lines: []string{"deb http://cloud.test/debian trixie main", "deb http://cloud.test/debian trixie-updates main"},
		},
		{
			name: "a password stays on the host",
			files: map[string]string{
				"etc/os-release":       bookworm,
				"etc/apt/sources.list": "deb http://me:secret@mirror.test/debian bookworm main\n",
			},
		},
		{
			name: "disabled",
			files: map[string]string{
				"etc/os-release":                        bookworm,
				"etc/apt/sources.list.d/debian.sources": "Enabled: no\nTypes: deb\nURIs: http://m.test/debian\nSuites: bookworm\nComponents: main\n",
			},
		},
		{
			name: "Ubuntu's mirrors have no Debian",
			files: map[string]string{
				"etc/os-release":       "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n",
				"etc/apt/sources.list": "deb http://mirror.test/ubuntu noble main\n",
			},
		},
		{name: "no Linux at all", files: map[string]string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := hostSources(hostFS(tc.files))
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(sources{})); diff != "" {
				t.Errorf("sources (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.lines, got.arguments("trixie")); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnlyReleasedSuitesHaveUpdates(t *testing.T) {
	t.Parallel()
	s := sources{mirror: "http://m.test/debian", security: "http://m.test/debian-security"}
	if diff := cmp.Diff([]string{"deb http://m.test/debian sid main"}, s.arguments("sid")); diff != "" {
		t.Error(diff)
	}
}
