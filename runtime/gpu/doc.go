// Package gpu knows what this machine's GPUs are, and what a server's own lines
// prove about the GPUs that it uses. A server that was to use a GPU and serves
// from the CPU looks healthy: only its lines tell.
package gpu
