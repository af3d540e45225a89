// Package engine defines the interface of engines that run servers. A Spec describes the
// desired server, a Server an existing one, and Facts the engine itself. How an engine
// grants a Spec (mounts, devices, ports) is its own matter: package docker is the first
// implementation. This package is pure.
package engine
