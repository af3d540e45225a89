package bundle

import (
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// NPMFile is an npm package as a file.
type NPMFile struct {
	File string
	ocispec.Descriptor
}

// NPMFiles lists the packages in a folder of npm's cache (content-v2), where a package is
// named by its sha512. A file that the lock file (package-lock.json) does not pin is an error.
func NPMFiles(dir, lockFile string) ([]NPMFile, error) {
	pinned, err := integrities(lockFile)
	if err != nil {
		return nil, err
	}
	var out []NPMFile
	err = filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := describeNPM(file, pinned)
		out = append(out, f)
		return err
	})
	return out, err
}

func describeNPM(file string, pinned map[string]string) (NPMFile, error) {
	f, err := os.Open(file)
	if err != nil {
		return NPMFile{}, err
	}
	defer f.Close()
	sum, blob := sha512.New(), digest.SHA256.Digester()
	size, err := io.Copy(io.MultiWriter(sum, blob.Hash()), f)
	if err != nil {
		return NPMFile{}, err
	}
	integrity := "sha512-" + base64.StdEncoding.EncodeToString(sum.Sum(nil))
	title, ok := pinned[integrity]
	if !ok {
		return NPMFile{}, fmt.Errorf("npm downloaded a file that its lock file does not pin: %s", integrity)
	}
	return NPMFile{file, ocispec.Descriptor{
		MediaType: NPMType, Digest: blob.Digest(), Size: size,
		Annotations: map[string]string{ocispec.AnnotationTitle: title, AnnotationIntegrity: integrity},
	}}, nil
}

// integrities maps the hashes in a package-lock.json to file names of the packages.
func integrities(lockFile string) (map[string]string, error) {
	data, err := os.ReadFile(lockFile)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct {
			Version   string `json:"version"`
			Integrity string `json:"integrity"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, fmt.Errorf("%s: %w", path.Base(lockFile), err)
	}
	out := map[string]string{}
	for folder, p := range lock.Packages {
		_, name := cutLast(folder, "node_modules/")
		title := strings.ReplaceAll(strings.TrimPrefix(name, "@"), "/", "-") + "-" + p.Version + ".tgz"
		// One file can have several hashes.
		for word := range strings.FieldsSeq(p.Integrity) {
			// A package can be in several folders. Its name must not depend on the map's order.
			if had, ok := out[word]; !ok || title < had {
				out[word] = title
			}
		}
	}
	return out, nil
}

func cutLast(s, sep string) (before, after string) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):]
	}
	return "", s
}

// SHA512 is the hash of an npm package in hex, from its integrity; empty if it has none.
func SHA512(d ocispec.Descriptor) string {
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(d.Annotations[AnnotationIntegrity], "sha512-"))
	if err != nil || len(sum) != sha512.Size {
		return ""
	}
	return hex.EncodeToString(sum)
}
