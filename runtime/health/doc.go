// Package health waits until somebody can rely on a server, and no longer than
// there is hope.
//
// A server is ready when GET /health says so with status 200 and "ok", and what
// was started is still what runs: a port alone proves nothing, since another
// process may have taken it. The wait ends early when the server exits, and
// when it makes no progress; one that does is given its time.
package health
