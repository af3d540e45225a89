package llb

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// archives is a place to run fetch.sh in: with archives that are folders, an apt that
// knows some of them, and a helper of apt's that takes from them whatever is there.
type archives struct {
	t   *testing.T
	dir string
}

func newArchives(t *testing.T, known ...string) archives {
	t.Helper()
	onLinux(t, "sha256sum")
	a := archives{t, t.TempDir()}
	a.write("bin/apt-get", "#!/bin/sh\ncase $* in *indextargets*) ;; *) exit 9 ;; esac\nprintf '%s\\n' "+strings.Join(known, " ")+"\n")
	// Apt's own looks at hashes, and this one does not: the script has to.
	a.write("helper", `#!/bin/sh
while [ "$1" != download-file ]; do shift; done
shift
failed=0
while [ $# -gt 0 ]; do
  case $3 in SHA256:*) ;; *) exit 9 ;; esac
  echo "$1" >>`+a.dir+`/log
  cp "`+a.dir+`/archives/${1#https://}" "$2" 2>/dev/null || { echo "E: 404 $1" >&2; failed=1; }
  shift 3
done
exit $failed
`)
	return a
}

func (a archives) write(name, text string) {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		a.t.Fatal(err)
	}
}

// fetch runs the script for packages with given contents. It gives what it said, the
// addresses that it asked for, and what is in /out.
func (a archives) fetch(contents map[string]string, snapshots string) (said string, asked []string, out map[string]string, err error) {
	a.t.Helper()
	var list strings.Builder
	for _, name := range []string{"a", "b", "c"} {
		if text, ok := contents[name]; ok {
			fmt.Fprintf(&list, "%x %s_1_all.deb pool/%s/%s_1_all.deb\n", sha256.Sum256([]byte(text)), name, name, name)
		}
	}
	a.write("packages", list.String())
	a.write("apt.sh", aptScript)
	a.write("snapshots", snapshots)
	for _, dir := range []string{"tmp", "out"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			a.t.Fatal(err)
		}
	}
	// At once: the places themselves have such names in them.
	script := strings.NewReplacer("/usr/lib/apt/apt-helper", a.dir+"/helper", "/llorch/", a.dir+"/", "/tmp/", a.dir+"/tmp/", "/out", a.dir+"/out", "/run/llorch/snapshots", a.dir+"/snapshots").Replace(fetchScript)
	said, err = shell(a.t, script, nil, []string{"PATH=" + a.dir + "/bin:" + os.Getenv("PATH")})
	log, _ := os.ReadFile(filepath.Join(a.dir, "log"))
	asked, out = strings.Fields(string(log)), map[string]string{}
	files, readErr := os.ReadDir(filepath.Join(a.dir, "out"))
	if readErr != nil {
		a.t.Fatal(readErr)
	}
	for _, f := range files {
		text, readErr := os.ReadFile(filepath.Join(a.dir, "out", f.Name()))
		if readErr != nil {
			a.t.Fatal(readErr)
		}
		out[f.Name()] = string(text)
		if info, err := f.Info(); err != nil || info.ModTime().Unix() != 0 && said == "" {
			a.t.Errorf("%s has a time of its own, %v", f.Name(), err)
		}
	}
	return said, asked, out, err
}

// What is taken is what has the hash, from the first archive that has it, and nobody is
// asked for what is there.
func TestFetch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		known     []string
		files     map[string]string
		snapshots string
		asked     []string
		// without are those that cannot be had.
		without []string
	}{
		"one archive has all": {
			known: []string{"https://one.example/debian/"},
			files: map[string]string{"one.example/debian/pool/a/a_1_all.deb": "A", "one.example/debian/pool/b/b_1_all.deb": "B"},
			asked: []string{"https://one.example/debian/pool/a/a_1_all.deb", "https://one.example/debian/pool/b/b_1_all.deb"},
		},
		"a second one has the rest": {
			known: []string{"https://one.example", "https://two.example/"},
			files: map[string]string{"one.example/pool/a/a_1_all.deb": "A", "two.example/pool/b/b_1_all.deb": "B"},
			asked: []string{"https://one.example/pool/a/a_1_all.deb", "https://one.example/pool/b/b_1_all.deb", "https://two.example/pool/b/b_1_all.deb"},
		},
		"one that keeps every release": {
			known: []string{"https://one.example"}, snapshots: "https://snapshot.example/1 https://snapshot.example/2",
			files: map[string]string{"one.example/pool/b/b_1_all.deb": "B", "snapshot.example/2/pool/a/a_1_all.deb": "A"},
			asked: []string{
				"https://one.example/pool/a/a_1_all.deb", "https://one.example/pool/b/b_1_all.deb",
				"https://snapshot.example/1/pool/a/a_1_all.deb", "https://snapshot.example/2/pool/a/a_1_all.deb",
			},
		},
		"other bytes in the first": {
			known: []string{"https://one.example", "https://two.example"},
			files: map[string]string{"one.example/pool/a/a_1_all.deb": "a forgery", "one.example/pool/b/b_1_all.deb": "B", "two.example/pool/a/a_1_all.deb": "A"},
			asked: []string{"https://one.example/pool/a/a_1_all.deb", "https://one.example/pool/b/b_1_all.deb", "https://two.example/pool/a/a_1_all.deb"},
		},
		"other bytes everywhere": {
			known:   []string{"https://one.example"},
			files:   map[string]string{"one.example/pool/a/a_1_all.deb": "a forgery", "one.example/pool/b/b_1_all.deb": "B"},
			asked:   []string{"https://one.example/pool/a/a_1_all.deb", "https://one.example/pool/b/b_1_all.deb"},
			without: []string{"a"},
		},
		"nobody has them": {
			known:   []string{"https://one.example"},
			asked:   []string{"https://one.example/pool/a/a_1_all.deb", "https://one.example/pool/b/b_1_all.deb"},
			without: []string{"a", "b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArchives(t, c.known...)
			for file, text := range c.files {
				a.write("archives/"+file, text)
			}
			contents := map[string]string{"a": "A", "b": "B"}
			said, asked, out, err := a.fetch(contents, c.snapshots)
			if diff := cmp.Diff(c.asked, asked); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
			want := map[string]string{"a_1_all.deb": "A", "b_1_all.deb": "B"}
			for _, name := range c.without {
				delete(want, name+"_1_all.deb")
				why := fmt.Sprintf("llorch-bk: %s_1_all.deb cannot be had with the sha256 %x: no archive has it\n", name, sha256.Sum256([]byte(contents[name])))
				if !strings.Contains(said, why) {
					t.Errorf("said %q, want %q in it", said, why)
				}
			}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("in /out (-want +got):\n%s", diff)
			}
			if (err != nil) != (len(c.without) > 0) || strings.Count(said, "llorch-bk:") != len(c.without) {
				t.Errorf("%v, and said %q", err, said)
			}
		})
	}
}

// A base without an archive, as one may be on a machine without a network.
func TestFetchWithoutArchives(t *testing.T) {
	t.Parallel()
	a := newArchives(t)
	said, asked, out, err := a.fetch(map[string]string{"a": "A"}, "")
	if err == nil || len(asked) > 0 || len(out) > 0 || !strings.Contains(said, "llorch-bk: a_1_all.deb cannot be had") {
		t.Errorf("%v, asked for %q, has %q, said %q", err, asked, out, said)
	}
}
