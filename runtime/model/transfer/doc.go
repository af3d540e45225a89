// Package transfer answers one question: how do a file's bytes get here over HTTP, whole
// and verified? It sends requests, judges every answer, retries, and fetches a file over
// one connection or in pieces over several. It knows neither the Hub nor the store.
package transfer
