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
//	  .files.json                   what this program put there, with its sizes
//	modelscope--org--name/          the same for a repository of ModelScope
//	urls--<hash>--<name>/           the same for a plain http(s) ref
//	oci--<hash>--<name>/            the same for a registry; a commit is a manifest's digest
//	.locks/<folder>/<blob>.lock     held while a blob is fetched
//
// Other tools may use the same folder. What .files.json does not name is theirs: it is
// listed where it is a model, and a collection leaves it alone.
//
// On a file system without symlinks a snapshot has the files themselves, and blobs is
// empty once they are whole.
//
// A process that uses a model holds a shared lock on its files (Hold), and a removal takes
// an exclusive one, so that a collection beside a run never takes the run's model.
//
// A name under snapshots appears only when its content is whole and verified. Folders are
// 0755 and files 0644 whatever the umask is, because a container's unprivileged user must
// be able to read them.
package store
