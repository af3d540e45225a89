package doctor

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// machine is a System made of values.
type machine struct {
	platform Platform
	files    map[string]string
	programs []string
	info     EngineInfo
	// ping and dial are the errors of the engine's ping and of its socket.
	ping, dial error
}

func (m machine) Platform() Platform { return m.platform }

func (m machine) ReadFile(name string) ([]byte, error) {
	text, ok := m.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (m machine) Exists(name string) bool { _, ok := m.files[name]; return ok }

func (m machine) Glob(pattern string) []string {
	var found []string
	for name := range m.files {
		if ok, _ := path.Match(pattern, name); ok {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

func (m machine) LookPath(name string) (string, error) {
	if slices.Contains(m.programs, name) {
		return "/usr/bin/" + name, nil
	}
	return "", errors.New("not found")
}

func (m machine) Dial(context.Context, string) error       { return m.dial }
func (m machine) Ping(context.Context) (EngineInfo, error) { return m.info, m.ping }
func (m *machine) file(name, text string)                  { m.files[name] = text }
func (m *machine) with(programs ...string)                 { m.programs = append(m.programs, programs...) }

func (m *machine) running(info EngineInfo) { m.info, m.ping, m.dial = info, nil, nil }

func (m *machine) user(name string, uid int, groups ...int) {
	m.platform.User, m.platform.UID, m.platform.Groups = name, uid, groups
}

func (m *machine) process(pid, name, state string, cmdline string) {
	m.file("/proc/"+pid+"/stat", pid+" ("+name+") "+state+strings.Repeat(" 1", 49))
	m.file("/proc/"+pid+"/cmdline", cmdline)
}

// bare is a machine of one distribution, root, without an engine.
func bare(release string) *machine {
	return &machine{
		platform: Platform{OS: "linux", User: "root", EngineAddr: defaultSocket},
		files:    map[string]string{"/etc/os-release": release, "/etc/ssl/certs/ca-certificates.crt": "x"},
		ping:     errors.New("cannot connect"), dial: syscall.ENOENT,
	}
}

func debian() *machine {
	m := bare("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n")
	m.with("apt-get", "git")
	return m
}

func ubuntu() *machine {
	m := bare("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\n")
	m.with("apt-get", "git", "sudo")
	m.user("ada", 1000, 1000)
	m.file("/run/systemd/system", "")
	return m
}

var (
	modern = EngineInfo{Version: "28.5.2", API: "1.51", OSType: "linux", Runtimes: []string{"runc"}}
	old    = EngineInfo{Version: "20.10.24+dfsg1", API: "1.41", OSType: "linux", Runtimes: []string{"runc"}}
)
