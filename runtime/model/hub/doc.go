// Package hub answers one question: what does the Hugging Face Hub have? It speaks the
// Hub's API and explains its refusals. It downloads nothing.
package hub
