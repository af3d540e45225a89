package model

import (
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// Ref names one model file.
type Ref = ref.Ref

// Parse reads a model ref, as ref.Parse does.
func Parse(raw string) (Ref, error) { return ref.Parse(raw) }

// Identity is a model by its content.
type Identity = ref.Identity

// Carried is a file of a stored model as another machine's store takes it.
type Carried = store.Carried
