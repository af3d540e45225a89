// Package gguf answers one question: what is this model, by its file names and by its
// headers? It reads and never writes. Everything it reads comes from outside: a wrong or
// hostile header costs neither memory nor the process.
package gguf
