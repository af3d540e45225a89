package base

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// errNoSystem means that the tarball does not contain an installed Debian.
var errNoSystem = errors.New("mmdebstrap's output has no installed system")

// capability is the only extended attribute that installed files need.
const capability = "SCHILY.xattr.security.capability"

// rewrite copies a root file system tarball. It leaves out caches and files that belong to
// the machine that made it, so that the same packages give the same bytes. Times later than
// epoch become epoch; the packages' own times stay.
func rewrite(dst io.Writer, src io.Reader, epoch time.Time) error {
	in, out := tar.NewReader(src), tar.NewWriter(dst)
	installed := false
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the bootstrapped system: %w", err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == "var/lib/dpkg/status" {
			installed = true
		}
		if name == "" || !belongs(name, h.Typeflag == tar.TypeDir) {
			continue
		}
		if err := out.WriteHeader(normalise(h, name, epoch)); err != nil {
			return fmt.Errorf("write the layer: %w", err)
		}
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("copy %s into the layer: %w", name, err)
		}
	}
	if !installed {
		return errNoSystem
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write the layer: %w", err)
	}
	// Read the padding after the archive's end too, or its writer fails with a broken
	// pipe.
	_, err := io.Copy(io.Discard, src)
	return err
}

func normalise(h *tar.Header, name string, epoch time.Time) *tar.Header {
	clean := &tar.Header{
		Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode,
		Uid: h.Uid, Gid: h.Gid, Devmajor: h.Devmajor, Devminor: h.Devminor,
		ModTime: h.ModTime.Truncate(time.Second),
	}
	if clean.ModTime.After(epoch) {
		clean.ModTime = epoch
	}
	switch h.Typeflag {
	case tar.TypeDir:
		clean.Name += "/"
	case tar.TypeLink:
		clean.Linkname = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
	}
	if v, ok := h.PAXRecords[capability]; ok {
		clean.PAXRecords = map[string]string{capability: v}
	}
	return clean
}

// belongs reports whether a path is part of the image. Most folders stay, because packages
// own them and apt expects some.
func belongs(name string, dir bool) bool {
	switch name {
	case "etc/resolv.conf", "etc/hostname", "etc/machine-id", "var/lib/dbus/machine-id",
		"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-":
		return false
	}
	switch {
	// An engine creates its own devices, and a rootless one cannot create these.
	case strings.HasPrefix(name, "dev/"), strings.HasPrefix(name, "tmp/"),
		strings.HasPrefix(name, "proc/"), strings.HasPrefix(name, "sys/"):
		return false
	case dir:
		return true
	case strings.HasPrefix(name, "run/"), strings.HasPrefix(name, "var/lib/apt/lists/"),
		strings.HasPrefix(name, "var/cache/apt/"), strings.HasPrefix(name, "var/cache/ldconfig/"):
		return false
	case strings.HasSuffix(name, "-old"):
		return path.Dir(name) != "var/cache/debconf" && path.Dir(name) != "var/lib/dpkg"
	}
	return true
}
