// Package model answers one question: where is the model, whole and verified, on this
// host? It puts the rooms below it together: what a ref means (ref), what the source has
// (hub, registry, or transfer's probe of a plain URL), what the store has already (store),
// how the bytes get here (transfer), and what the file says about itself (gguf).
//
// The order for every kind of ref is the same. What is pinned and in the store costs no
// request. Else the source is asked what the ref means now; where it cannot be asked, the
// store's last answer is used, and the user is told. Then one process fetches what is
// missing, and the others wait for it.
package model
