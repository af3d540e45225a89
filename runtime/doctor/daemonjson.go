package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"

	"github.com/google/renameio/v2"

	"github.com/llorch/llorch-bk/images/fault"
)

// MergeDaemonJSON merges changes into an engine's configuration. It merges objects key by
// key and replaces every other value. Keys that changes do not name are kept. If nothing
// changes, it returns old unmodified. An empty file counts as an empty object. A file that
// is not a JSON object is an error, and is never replaced.
func MergeDaemonJSON(old []byte, changes map[string]any) (merged []byte, changed bool, err error) {
	config, err := parseConfig(old)
	if err != nil {
		return nil, false, fault.New(fault.Machine, "cannot change the engine's configuration "+daemonJSON, err,
			"correct the file by hand; the engine cannot start with it either")
	}
	// Pass the changes through JSON too, so that numbers compare.
	raw, err := json.Marshal(changes)
	if err != nil {
		return nil, false, err
	}
	wanted, err := parseConfig(raw)
	if err != nil {
		return nil, false, err
	}
	if !merge(config, wanted) {
		return old, false, nil
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(config); err != nil {
		return nil, false, err
	}
	return out.Bytes(), true, nil
}

// parseConfig reads daemon.json and keeps numbers as they are written.
func parseConfig(raw []byte) (map[string]any, error) {
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
	config := map[string]any{}
	if len(raw) == 0 {
		return config, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&config); err != nil {
		return nil, fmt.Errorf("invalid JSON object: %w", err)
	}
	if config == nil {
		return nil, errors.New("it must be a JSON object, got null")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("invalid JSON: data follows the object")
	}
	return config, nil
}

// merge copies wanted into config and reports whether anything changed.
func merge(config, wanted map[string]any) bool {
	changed := false
	for key, value := range wanted {
		have, there := config[key]
		into, isObject := have.(map[string]any)
		from, fromObject := value.(map[string]any)
		switch {
		case isObject && fromObject:
			changed = merge(into, from) || changed
		case !there || !reflect.DeepEqual(have, value):
			config[key] = value
			changed = true
		}
	}
	return changed
}

// mergeConfigFile changes a configuration file atomically and keeps its permissions. It
// saves the first original as .bak.
func mergeConfigFile(path string, changes map[string]any) (bool, error) {
	// Write through a link, so that it stays a link.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	old, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return false, fmt.Errorf("read the engine's configuration: %w", err)
	}
	merged, changed, err := MergeDaemonJSON(old, maps.Clone(changes))
	if err != nil || !changed {
		return false, err
	}
	if missing {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return false, fmt.Errorf("write the engine's configuration: %w", err)
		}
	} else if _, err := os.Lstat(path + ".bak"); errors.Is(err, fs.ErrNotExist) {
		if err := renameio.WriteFile(path+".bak", old, 0o600); err != nil {
			return false, fmt.Errorf("back up the engine's configuration: %w", err)
		}
	}
	if err := renameio.WriteFile(path, merged, 0o644, renameio.WithExistingPermissions()); err != nil {
		return false, fmt.Errorf("write the engine's configuration: %w", err)
	}
	return true, nil
}
