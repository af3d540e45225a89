//go:build !linux

package model

import "errors"

// clone is not known of here; a second name does as well.
func clone(string, string) error { return errors.ErrUnsupported }
