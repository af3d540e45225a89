package images_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestLockSchema(t *testing.T) {
	t.Parallel()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(images.LockJSONSchema))
	if err != nil {
		t.Fatal(err)
	}
	const id = "https://github.com/llorch/llorch-bk/schema/lock-1.json"
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(id, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	if schema.ID != id || schema.DraftVersion != 2020 {
		t.Errorf("it is %s of draft %d", schema.ID, schema.DraftVersion)
	}
	validate := func(text string) error {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
	for name, l := range map[string]images.Lock{"whole": wholeLock(t), "cpu": cpuLock(t)} {
		if err := validate(string(encode(t, l))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, b := range brokenLocks {
		if err := validate(b.text(t)); (err == nil) != b.beyond {
			t.Errorf("%s: %v", b.name, err)
		}
	}
}

// The schema has the fields of a lock, no others, and says which must be there.
func TestLockSchemaHasTheFields(t *testing.T) {
	t.Parallel()
	type object struct {
		Ref                  string             `json:"$ref"`
		Description          string             `json:"description"`
		Type                 string             `json:"type"`
		AdditionalProperties *bool              `json:"additionalProperties"`
		Required             []string           `json:"required"`
		Properties           map[string]*object `json:"properties"`
		Items                *object            `json:"items"`
		Defs                 map[string]*object `json:"$defs"`
	}
	var root object
	if err := json.Unmarshal(images.LockJSONSchema, &root); err != nil {
		t.Fatal(err)
	}
	follow := func(o *object) *object {
		if name, ok := strings.CutPrefix(o.Ref, "#/$defs/"); ok {
			return root.Defs[name]
		}
		return o
	}
	var compare func(at string, o *object, v reflect.Type)
	compare = func(at string, o *object, v reflect.Type) {
		if o = follow(o); o == nil {
			t.Errorf("%s: there is no such definition", at)
			return
		}
		switch {
		case v.Kind() == reflect.Slice:
			if o.Type != "array" || o.Items == nil {
				t.Errorf("%s is a list", at)
				return
			}
			compare(at+"[]", o.Items, v.Elem())
			return
		case v.Kind() == reflect.Map:
			if diff := cmp.Diff(slices.Sorted(slices.Values(images.Platforms)), slices.Sorted(maps.Keys(o.Properties))); diff != "" {
				t.Errorf("%s: %s", at, diff)
			}
			for name, p := range o.Properties {
				compare(at+"."+name, p, v.Elem())
			}
		case v == reflect.TypeFor[time.Time]() || v.Kind() != reflect.Struct:
			return
		default:
			var fields, required []string
			for i := range v.NumField() {
				name, options, _ := strings.Cut(v.Field(i).Tag.Get("json"), ",")
				fields = append(fields, name)
				// A package has all fields in a lock, and in a plan its name alone.
				must := !strings.Contains(options, "omit") || v == reflect.TypeFor[images.Package]() ||
					v == reflect.TypeFor[images.BaseFacts]() && (name == "ref" || name == "digest")
				if must {
					required = append(required, name)
				}
				p := o.Properties[name]
				if p == nil {
					continue
				}
				if p.Description == "" {
					t.Errorf("%s.%s has no description", at, name)
				}
				compare(at+"."+name, p, v.Field(i).Type)
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(fields)), slices.Sorted(maps.Keys(o.Properties))); diff != "" {
				t.Errorf("fields of %s (-lock +schema):\n%s", at, diff)
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(required)), slices.Sorted(slices.Values(o.Required))); diff != "" {
				t.Errorf("what must be in %s (-lock +schema):\n%s", at, diff)
			}
		}
		if o.AdditionalProperties == nil || *o.AdditionalProperties {
			t.Errorf("%s takes fields that nobody knows", at)
		}
	}
	compare("lock", &root, reflect.TypeFor[images.Lock]())
	if want := fmt.Sprintf("schema/lock-%d.json", images.LockSchema); !bytes.Contains(images.LockJSONSchema, []byte(want)) {
		t.Errorf("the schema is not called %s", want)
	}
}
