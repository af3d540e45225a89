// Package engine runs llama.cpp images on a Docker engine, from 20.10 on.
//
// What a container is made of is a Spec, a value without decisions left in it,
// with a digest and pure functions to Docker's own types. Docker carries it out.
// Labels are the only state: whatever runs is found by them, so that nothing
// can disagree with the engine about what is true.
package engine
