package ref

// Identity is a model by its content: the same bytes wherever they come from.
type Identity struct {
	// Commit is the Hub's commit; empty for any other kind of ref.
	Commit string
	// Files are all files of the model, the one that the server is given first.
	Files []FileIdentity
}

// FileIdentity is one file of a model.
type FileIdentity struct {
	// Path is slash-separated, from the repository's root; a bare name for a model that
	// is in no repository.
	Path string
	// Size is in bytes.
	Size int64
	// SHA256 is in lower-case hex.
	SHA256 string
}

// Pinned is the ref that means one identity and nothing else: a Hub ref gets the commit,
// and a model in one file its hash.
func (r Ref) Pinned(id Identity) string {
	raw := r.Raw
	if r.Kind == Hub && id.Commit != "" && len(id.Files) > 0 {
		raw = r.In(id.Commit, id.Files[0].Path)
	}
	if len(id.Files) == 1 {
		if body, sum, err := cutSum(raw); err == nil && sum != "" {
			raw = body
		}
		raw += "#sha256=" + id.Files[0].SHA256
	}
	return raw
}
