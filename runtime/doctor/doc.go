// Package doctor says what keeps this machine from building and running, and
// mends it where that is safe.
//
// Inspect looks and changes nothing. Plan and Findings are pure functions of
// what it saw. Apply carries out one step and decides nothing; whether it may
// is Consent's answer. A machine with nothing to mend has an empty plan, so
// that repeating it all changes nothing.
package doctor
