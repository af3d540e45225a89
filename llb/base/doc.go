// Package base makes the base image that no registry gives: a slim Debian,
// bootstrapped with mmdebstrap from the distribution's own packages.
//
// The image lives in a folder as an OCI layout, which BuildKit reads through
// containerd's content store, and the same folder is a docker archive, which
// every engine since 20.10 can load. Its name is always one of our own, never
// that of an official image.
package base
