// Package engine says what an engine that runs servers must do, and in which
// terms: a Spec is what is wanted, a Server what is there, Facts what the engine
// says of itself. How an engine grants a Spec (mounts, devices, ports) is its own
// matter: see package docker for the first implementation. It is pure.
package engine
