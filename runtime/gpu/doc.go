// Package gpu reads this machine's GPUs, and reads in a server's log which GPUs the server
// uses. A server that falls back to the CPU is healthy: only its log shows the difference.
package gpu
