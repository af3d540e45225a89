// Package handoff writes the file by which another program learns that an
// endpoint may be relied upon. The file exists exactly as long as that is true:
// it appears whole once the server is ready and goes when the server does.
//
// Consumers poll the folder for names that end in .json, may read a path only
// once and accept unknown fields. So a file is complete from the first moment
// that it has its name, and a field, once released, is never renamed or dropped.
package handoff
