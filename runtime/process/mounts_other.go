//go:build !linux

package process

// Unmount is for Linux only: no daemon of this program runs elsewhere.
func Unmount(string) {}
