// Package store answers one question: what does this host have, whole and verified? It
// keeps models in a folder that any number of processes share.
//
// The folder is in Hugging Face cache layout, one folder per model:
//
//	models--org--name/
//	  blobs/<etag>                  the content; <etag>.incomplete while it is fetched,
//	                                with <etag>.incomplete.pieces beside it
//	  refs/<revision>               the commit that the revision last meant
//	  snapshots/<commit>/<file>     a relative symlink to the blob
//	  .uses.json                    who used which file, and when
//	urls--<hash>--<name>/           the same for a plain http(s) ref
//	oci--<hash>--<name>/            the same for a registry; a commit is a manifest's digest
//	.locks/<folder>/<blob>.lock     held while a blob is fetched
//
// A name under snapshots appears only when its content is whole and verified. Folders are
// 0755 and files 0644 whatever the umask is, because a container's unprivileged user must
// be able to read them.
package store
