package runtime_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/llorch/llorch-bk/"

// pkg is what go list says of a package.
type pkg struct {
	ImportPath    string
	Imports, Deps []string
	Standard      bool
}

func packages(t *testing.T, args ...string) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,Standard"}, args...)...)
	cmd.Dir = ".."
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, errs.String())
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// The clients of engines stay in the packages of the engines, and in what builds.
func TestDockersClientStaysInItsRoom(t *testing.T) {
	t.Parallel()
	may := []string{
		"runtime/engine/docker", "runtime/doctor", // doctor asks what an engine is before anything uses it
		"cmd/internal/app", // brings both halves together; TestRunHalf holds which files
		"llb/builder", "llb/buildkit", "llb/base", "fixtures", "e2e", "cmd/llorch-bk",
	}
	for path, p := range packages(t, "./...") {
		room := strings.TrimPrefix(path, module)
		for _, i := range p.Imports {
			if (strings.HasPrefix(i, "github.com/docker/docker/") || strings.HasPrefix(i, "github.com/docker/cli/") || strings.HasPrefix(i, "github.com/docker/go-connections")) && !slices.ContainsFunc(may, func(m string) bool { return room == m || strings.HasPrefix(room, m+"/") }) {
				t.Errorf("%s imports %s", room, i)
			}
		}
	}
}

// What decides is pure: neither it nor anything of ours that it uses can reach a
// file, a network, a process, a clock of its own making or an engine.
func TestPoolIsPure(t *testing.T) {
	t.Parallel()
	never := []string{"os", "os/exec", "os/signal", "io/fs", "net", "net/http", "syscall", "log", "plugin", "unsafe", "embed"}
	all := packages(t, "-deps", "./runtime/pool")
	for path, p := range all {
		if p.Standard {
			continue
		}
		if !strings.HasPrefix(path, module) {
			t.Errorf("it depends on %s, which is not ours", path)
		}
		for _, i := range p.Imports {
			if slices.Contains(never, i) {
				t.Errorf("%s imports %s", strings.TrimPrefix(path, module), i)
			}
		}
	}
	if len(all) < 10 {
		t.Fatalf("go list gave %d packages", len(all))
	}
}

// Neither half knows the other: only cmd brings them together. What both need stands in
// images; a daemon is passed to llb/builder as an interface.
func TestTheHalvesDoNotKnowEachOther(t *testing.T) {
	t.Parallel()
	for _, half := range []struct{ room, never string }{{"runtime", "llb"}, {"llb", "runtime"}, {"images", "llb"}, {"images", "runtime"}} {
		for path, p := range packages(t, "./"+half.room+"/...") {
			for _, d := range p.Deps {
				if d == module+half.never || strings.HasPrefix(d, module+half.never+"/") {
					t.Errorf("%s depends on %s", strings.TrimPrefix(path, module), strings.TrimPrefix(d, module))
				}
			}
		}
	}
}
