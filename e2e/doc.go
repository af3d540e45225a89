// Package e2e answers one question: does the whole do what it promises? Its tests use the
// program as a user does: the binary, its files, its exit codes.
//
// There are two main tiers, each behind a variable. The fixture tier compiles a tiny engine
// through the same graph and runs it through the same runtime. The real tier does the same
// with llama.cpp and a real model.
package e2e
