// Package health waits until a server is ready, and gives up early if it never will be.
//
// A server is ready when GET /health answers 200 with "ok", and the process that was started
// still runs. An open port alone proves nothing, since another process may have taken it. The
// wait ends early if the server exits or makes no progress. A slow start that makes progress
// may go on.
package health
