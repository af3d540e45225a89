// Package handoff writes the file that tells other programs that they can use an endpoint.
// The file exists only while that is true: it appears when the server is ready, and is
// removed when the server stops.
//
// Consumers poll the folder for names that end in .json, may read a path only once, and
// accept unknown fields. So a file is complete as soon as it has its name, and a released
// field is never renamed or removed.
package handoff
