package images

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Difference is a field that two locks have with different values.
type Difference struct {
	// Part is the path of the field, such as platforms.linux/amd64.packages.toolchain.cmake.
	Part string
	// Old and New are its values; empty if a lock does not have the field.
	Old, New string
}

func (d Difference) String() string {
	switch {
	case d.Old == "":
		return d.Part + ": added " + d.New
	case d.New == "":
		return d.Part + ": removed " + d.Old
	}
	return d.Part + ": " + d.Old + " → " + d.New
}

// Differences lists the fields in which two locks differ, sorted by path.
func (l Lock) Differences(other Lock) []Difference {
	old, changed := l.flat(), other.flat()
	var out []Difference
	for part, v := range old {
		if changed[part] != v {
			out = append(out, Difference{part, v, changed[part]})
		}
	}
	for part, v := range changed {
		if _, ok := old[part]; !ok {
			out = append(out, Difference{part, "", v})
		}
	}
	slices.SortFunc(out, func(x, y Difference) int { return strings.Compare(x.Part, y.Part) })
	return out
}

// words joins strings with spaces and quotes those that are empty or have spaces, so that
// different lists never look the same.
func words(all []string) string {
	out := make([]string, len(all))
	for i, s := range all {
		if out[i] = s; s == "" || strings.ContainsAny(s, " \"") {
			out[i] = strconv.Quote(s)
		}
	}
	return strings.Join(out, " ")
}

// flat maps each field's path to its value. A package is one value: its version and its
// hash, but not its place in an archive.
func (l Lock) flat() map[string]string {
	out := map[string]string{}
	var walk func(at string, v reflect.Value)
	walk = func(at string, v reflect.Value) {
		switch value := v.Interface().(type) {
		case time.Time:
			out[at] = value.Format(time.RFC3339)
			return
		case []Package:
			for _, p := range value {
				out[at+"."+p.Name] = p.Version + " " + p.SHA256
			}
			return
		case []LockFileHash:
			for _, f := range value {
				out[at+"."+f.Path] = fmt.Sprintf("%d %s", f.Size, f.SHA256)
			}
			return
		case []string:
			if len(value) > 0 {
				out[at] = words(value)
			}
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				walk(strings.TrimPrefix(at+"."+name, "."), v.Field(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(at+"."+k.String(), v.MapIndex(k))
			}
		default:
			if !v.IsZero() {
				out[at] = fmt.Sprint(v.Interface())
			}
		}
	}
	walk("", reflect.ValueOf(l))
	return out
}
