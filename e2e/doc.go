// Package e2e asks one thing: does the whole do what it promises? Its tests use
// the program as a user does: the binary, its files, its exit codes.
//
// There are two tiers, each behind a gate, one file and more for each. The
// fixture tier compiles a tiny engine through the same graph and runs it through
// the same runtime. The real tier does it with llama.cpp and a real model.
package e2e
