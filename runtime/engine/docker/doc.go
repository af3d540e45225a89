// Package docker runs servers on a Docker engine, from 20.10 on.
//
// Labels are the only state: whatever runs is found by them, so that nothing can
// disagree with the engine about what is true. A container's name is the claim on
// its replica, since an engine gives a name only once. No type of Docker's client
// leaves this package, but for Engine.Client, which is for what builds images.
package docker
