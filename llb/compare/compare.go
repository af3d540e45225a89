// Package compare lists the differences between two images with different digests, file by
// file.
package compare

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Kind is the kind of a difference.
type Kind string

// The kinds. A file that differs in several ways gives one difference for each.
const (
	// Content: the bytes of a file, or the target of a link.
	Content Kind = "content"
	// Time, Mode, Owner: a file's metadata.
	Time  Kind = "time"
	Mode  Kind = "mode"
	Owner Kind = "owner"
	// Missing: a file or layer that only one of the images has.
	Missing Kind = "missing"
	// Order: the same files in another order.
	Order Kind = "order"
	// Compression: the same files in the same order, compressed differently.
	Compression Kind = "compression"
	// Config: a setting of the image.
	Config Kind = "config"
)

// Difference is one difference between two images.
type Difference struct {
	// Layer is the layer's name in the image's history; empty for the config.
	Layer string `json:"layer,omitempty"`
	// File is a path in the layer, or of a setting in the config.
	File string `json:"file,omitempty"`
	Kind Kind   `json:"kind"`
	// A and B describe briefly what each image has; empty if it has nothing.
	A string `json:"a,omitempty"`
	B string `json:"b,omitempty"`
}

func (d Difference) String() string {
	s := strings.Join(slices.DeleteFunc([]string{d.Layer, d.File}, func(s string) bool { return s == "" }), ": ") + ": " + string(d.Kind)
	switch {
	case d.A == "" && d.B == "":
		return s
	case d.A == "":
		return s + ", only the second has " + d.B
	case d.B == "":
		return s + ", only the first has " + d.A
	}
	return s + " " + d.A + " and " + d.B
}

// Images compares two images. The result is empty if their manifests are equal.
func Images(a, b v1.Image) ([]Difference, error) {
	da, db, err := digests(a, b)
	if err != nil || da == db {
		return nil, err
	}
	out, err := layers(a, b)
	if err != nil {
		return nil, err
	}
	configs, err := configs(a, b)
	if err != nil {
		return nil, err
	}
	if out = append(out, configs...); len(out) == 0 {
		return []Difference{{File: "manifest", Kind: Config, A: da.String(), B: db.String()}}, nil
	}
	return out, nil
}

// digests are the digests of two images or two layers.
func digests(a, b interface{ Digest() (v1.Hash, error) }) (of, other v1.Hash, err error) {
	if of, err = a.Digest(); err == nil {
		other, err = b.Digest()
	}
	return of, other, err
}

// named are an image's layers, and their names in its history.
func named(img v1.Image) ([]v1.Layer, []string, error) {
	all, err := img.Layers()
	if err != nil {
		return nil, nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, h := range config.History {
		if !h.EmptyLayer {
			names = append(names, strings.TrimPrefix(h.CreatedBy, "[image] "))
		}
	}
	for i := len(names); i < len(all); i++ {
		names = append(names, fmt.Sprintf("layer %d", i+1))
	}
	return all, names, nil
}

func layers(a, b v1.Image) ([]Difference, error) {
	la, na, err := named(a)
	if err != nil {
		return nil, err
	}
	lb, nb, err := named(b)
	if err != nil {
		return nil, err
	}
	var out []Difference
	for i := range max(len(la), len(lb)) {
		switch {
		case i >= len(la):
			out = append(out, Difference{Layer: nb[i], Kind: Missing, B: "the layer"})
			continue
		case i >= len(lb):
			out = append(out, Difference{Layer: na[i], Kind: Missing, A: "the layer"})
			continue
		}
		d, err := layer(na[i], la[i], lb[i])
		if err != nil {
			return nil, err
		}
		out = append(out, d...)
	}
	return out, nil
}

func layer(name string, a, b v1.Layer) ([]Difference, error) {
	da, db, err := digests(a, b)
	if err != nil || da == db {
		return nil, err
	}
	fa, err := files(a)
	if err != nil {
		return nil, fmt.Errorf("layer %s of the first: %w", name, err)
	}
	fb, err := files(b)
	if err != nil {
		return nil, fmt.Errorf("layer %s of the second: %w", name, err)
	}
	out := entries(name, fa, fb)
	if len(out) > 0 {
		return out, nil
	}
	for i := range fa {
		if fa[i].name != fb[i].name {
			return []Difference{{Layer: name, File: fa[i].name, Kind: Order, A: fa[i].name, B: fb[i].name}}, nil
		}
	}
	return []Difference{{Layer: name, Kind: Compression, A: da.String(), B: db.String()}}, nil
}

// file is an entry of a layer.
type file struct {
	name string
	// facts describe the file by kind of difference.
	facts map[Kind]string
}

func files(l v1.Layer) ([]file, error) {
	r, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []file
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		sum := sha256.New()
		size, err := io.Copy(sum, t)
		if err != nil {
			return nil, err
		}
		content := fmt.Sprintf("%d bytes, sha256 %x", size, sum.Sum(nil)[:6])
		if h.Linkname != "" {
			content = "→ " + h.Linkname
		}
		out = append(out, file{h.Name, map[Kind]string{
			Content: fmt.Sprintf("%c %s", h.Typeflag, content),
			Time:    h.ModTime.UTC().Format(time.RFC3339Nano),
			Mode:    fmt.Sprintf("%04o", h.Mode),
			Owner:   fmt.Sprintf("%d:%d", h.Uid, h.Gid),
		}})
	}
}

func entries(layer string, a, b []file) []Difference {
	var out []Difference
	byName := map[string]file{}
	for _, f := range b {
		byName[f.name] = f
	}
	for _, f := range a {
		g, ok := byName[f.name]
		delete(byName, f.name)
		if !ok {
			out = append(out, Difference{Layer: layer, File: f.name, Kind: Missing, A: "it"})
			continue
		}
		for _, kind := range []Kind{Content, Time, Mode, Owner} {
			if f.facts[kind] != g.facts[kind] {
				out = append(out, Difference{Layer: layer, File: f.name, Kind: kind, A: f.facts[kind], B: g.facts[kind]})
			}
		}
	}
	for _, f := range b {
		if _, ok := byName[f.name]; ok {
			out = append(out, Difference{Layer: layer, File: f.name, Kind: Missing, B: "it"})
		}
	}
	return out
}

// configs compares the images' configs, without the layers' digests.
func configs(a, b v1.Image) ([]Difference, error) {
	fa, err := settings(a)
	if err != nil {
		return nil, err
	}
	fb, err := settings(b)
	if err != nil {
		return nil, err
	}
	var out []Difference
	for name, v := range fa {
		if w := fb[name]; v != w {
			out = append(out, Difference{File: name, Kind: Config, A: v, B: w})
		}
	}
	for name, w := range fb {
		if _, ok := fa[name]; !ok {
			out = append(out, Difference{File: name, Kind: Config, B: w})
		}
	}
	slices.SortFunc(out, func(x, y Difference) int { return strings.Compare(x.File, y.File) })
	return out, nil
}

// settings flattens an image's config to values by path.
func settings(img v1.Image) (map[string]string, error) {
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	delete(tree, "rootfs")
	out := map[string]string{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, w := range v {
				walk(strings.TrimPrefix(at+"."+k, "."), w)
			}
		case []any:
			for i, w := range v {
				walk(fmt.Sprintf("%s.%d", at, i), w)
			}
		default:
			out[at] = fmt.Sprint(v)
		}
	}
	walk("", tree)
	return out, nil
}
