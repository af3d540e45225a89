// Package images answers one question: what goes into an image?
//
// It holds the catalogue of variants and the way from a Request (what the user
// asked) and Facts (what had to be looked up) to a Plan (everything that the
// image is made of). It is pure: no network, no clock, no environment, no
// files. The same request and facts give the same plan, byte for byte.
package images
