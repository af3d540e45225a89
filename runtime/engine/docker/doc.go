// Package docker runs servers on a Docker engine, from 20.10 on.
//
// Labels are the only state: servers are found by their labels, so no record can disagree
// with the engine. A container's name is the claim on its replica, since an engine gives a
// name only once. No type of Docker's client leaves this package, except to the code that
// builds images.
package docker
