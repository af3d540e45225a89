// Package base makes a base image if no registry provides one: a slim Debian,
// bootstrapped with mmdebstrap from the distribution's own packages.
//
// The image is an OCI layout in a folder, which BuildKit reads through containerd's
// content store. The same folder is a docker archive, which every engine since 20.10
// can load. The image has a name of its own, never that of an official image.
package base
