// Package images answers one question: what goes into an image?
//
// It has the catalogue of variants, and makes a Plan (everything that the image
// consists of) from a Request (what the user asked for) and Facts (what had to be
// looked up). It is pure: no network, no clock, no environment, no files. The same
// request and facts give the same plan, byte for byte.
package images
