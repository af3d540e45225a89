// Package model turns a model ref into a verified file on this host: it parses
// the ref, speaks the Hugging Face Hub's protocol, a container registry's or plain
// HTTP, and keeps what it fetched in a store.
//
// The store is a folder in Hugging Face cache layout, one folder per model:
//
//	models--org--name/
//	  blobs/<etag>                  the content; <etag>.incomplete while it is fetched,
//	                                with <etag>.incomplete.pieces beside it
//	  refs/<revision>               the commit that the revision last meant
//	  snapshots/<commit>/<file>     a relative symlink to the blob
//	urls--<hash>--<name>/           the same inside, for a plain http(s) ref
//	oci--<hash>--<name>/            the same inside, for a registry's; a commit is a manifest's digest
//	.locks/<folder>/<blob>.lock     held while a blob is fetched
//
// A name under snapshots appears only when its content is whole and verified.
// Folders are 0755 and files 0644 whatever the umask is, since a container's
// unprivileged user must be able to read them.
//
// By file: ref.go and environment.go are what the caller says; store.go, partial.go
// and pieces.go the disk; carrier.go, transport.go and retry.go HTTP; own.go, hub.go with
// fromhub.go, registry.go, and web.go the kinds of ref; pick.go and shards.go which files a
// ref means; download.go a transfer over one connection and ranges.go over several;
// adopt.go what others have fetched; inventory.go what the store has and verify.go whether it is whole; needs.go what
// it takes to serve; fetch.go and obtain.go the order of it all.
package model
