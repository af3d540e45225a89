// Package doctor finds what keeps this machine from building and running, and fixes it if
// that is safe.
//
// Inspect observes and changes nothing. Plan and Findings are pure functions of that
// observation. Apply carries out one step and decides nothing; Consent decides whether it
// may. A healthy machine has an empty plan, so repeating everything changes nothing.
package doctor
