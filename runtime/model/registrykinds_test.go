package model

import (
	"bytes"
	"path/filepath"
	"testing"
)

// What other tools call a model is one, and what belongs to it is none.
//
//nolint:paralleltest // the environment is the process's
func TestRegistryKinds(t *testing.T) {
	r := newRegistry(t)
	model, other := aGGUF(t, named("model")), aGGUF(t, named("other"))
	projector := aGGUF(t, ggufType("mmproj"))
	const weight = "application/vnd.cncf.model.weight.v1."
	for tag, c := range map[string]struct {
		layers []layer
		want   []byte
		name   string
	}{
		"modelpack":   {[]layer{{weight + "raw", "m-Q8_0.gguf", model}}, model, "m-Q8_0.gguf"},
		"modelrunner": {[]layer{{weight + "gguf", "m-Q8_0.gguf", model}}, model, "m-Q8_0.gguf"},
		"ollama":      {[]layer{{"application/vnd.ollama.image.model", "", model}, {"application/vnd.ollama.image.projector", "", projector}}, model, "tiny.gguf"},
		"oras":        {[]layer{{"application/vnd.oci.image.layer.v1.tar", "m-Q8_0.gguf", model}, {"application/vnd.oci.image.layer.v1.tar", "README.md", []byte("read me, please")}}, model, "m-Q8_0.gguf"},
		"podman":      {[]layer{{"application/octet-stream", "m-Q8_0.gguf", model}}, model, "m-Q8_0.gguf"},
		"vision":      {[]layer{{weight + "gguf", "vision.gguf", projector}, {weight + "gguf", "m-Q8_0.gguf", model}}, model, "m-Q8_0.gguf"},
		"two":         {[]layer{{weight + "raw", "m-Q8_0.gguf", other}, {weight + "raw", "m-Q4_K_M.gguf", model}}, model, "m-Q4_K_M.gguf"},
		"1B-Q8_0":     {[]layer{{weight + "raw", "m-Q8_0.gguf", model}, {weight + "raw", "m-Q4_K_M.gguf", other}}, model, "m-Q8_0.gguf"},
		"merged":      {[]layer{{weight + "raw", "m-00001-of-00003.gguf", model}}, model, "tiny.gguf"},
	} {
		t.Run(tag, func(t *testing.T) {
			r.push(t, "ai/tiny:"+tag, c.layers...)
			raw := "oci://" + r.host + "/ai/tiny:" + tag
			l := r.must(t, raw, c.want)
			if filepath.Base(l.Path) != c.name || l.Shards != 1 {
				t.Errorf("it is %+v", l)
			}
			// It is found again without the registry.
			off := r.again()
			off.Environment.Offline = true
			off.must(t, raw, c.want)
		})
	}
}

// Two models of one artifact are two in the list, and each is found by its own ref.
//
//nolint:paralleltest // as above
func TestRegistryTwoModels(t *testing.T) {
	r := newRegistry(t)
	q4, q8 := aGGUF(t, named("4")), aGGUF(t, named("8"))
	layers := []layer{{dockerGGUF, "m-Q8_0.gguf", q8}, {dockerGGUF, "m-Q4_K_M.gguf", q4}}
	r.push(t, "ai/tiny:1B-Q8_0", layers...)
	r.push(t, "ai/tiny:latest", layers...)
	r.must(t, "oci://"+r.host+"/ai/tiny:1B-Q8_0", q8)
	if !r.events.said("it has 2 models") {
		t.Errorf("the choice is not said: %q", r.events.notes)
	}
	r.must(t, "oci://"+r.host+"/ai/tiny", q4)
	all, err := r.Store.List()
	if err != nil || len(all) != 2 {
		t.Fatalf("the list is %+v, %v", all, err)
	}
	off := r.again()
	off.Environment.Offline = true
	for _, m := range all {
		off.must(t, m.Ref, mustRead(t, m.Path))
	}
	// By its hash one is fetched that is not here.
	fresh := newRegistryStore(t, r)
	fresh.must(t, "oci://"+r.host+"/ai/tiny:latest#sha256="+sum(q8), q8)
}

// newRegistryStore is a fetcher with an empty store beside a registry.
func newRegistryStore(t *testing.T, r *registryRig) *rig {
	t.Helper()
	c := r.again()
	c.Store = openStore(filepath.Join(t.TempDir(), "models"))
	return c
}

// Headers say which file of a model comes first, whatever the order of the layers.
//
//nolint:paralleltest // as above
func TestRegistryPartsByHeader(t *testing.T) {
	r := newRegistry(t)
	one, two := aPart(t, 0, 2), aPart(t, 1, 2)
	r.push(t, "ai/tiny:parts", layer{dockerGGUF, "", two}, layer{dockerGGUF, "", one})
	l, err := r.fetch(t, "oci://"+r.host+"/ai/tiny:parts")
	if err != nil {
		t.Fatal(err)
	}
	if l.Shards != 2 || !bytes.Equal(mustRead(t, l.Path), one) {
		t.Errorf("it is %+v", l)
	}
	if err := l.Examine(); err != nil {
		t.Error(err)
	}
}
