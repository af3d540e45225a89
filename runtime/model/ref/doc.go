// Package ref answers one question: which model does the user mean? It parses model refs
// and gives the names that models have in the store. It does no I/O.
package ref
