// Package pool decides what has to change so that pools are as they are wanted.
// Wanted and what was seen on an engine and in the handoff folder give a Plan: a
// list of operations, each with its cause. The same input gives the same plan.
// Execute carries a plan out through a Doer and decides nothing.
//
// The package is pure: no file, no network, no clock, no engine's client.
package pool
