// Package pool decides what has to change to bring pools to their desired state. It compares
// that state with the observed one (engine and handoff folder) and makes a Plan: a list of
// operations, each with its cause. The same input gives the same plan. Execute carries out a
// plan through a Doer and decides nothing.
//
// The package is pure: no files, no network, no clock, no engine client.
package pool
