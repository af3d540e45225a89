package mirror

import (
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"time"
)

// file sends a file, or the range of it that a request asks for. The Hub redirects to
// another host here; clients take the bytes from wherever they are.
func (m *Mirror) file(w http.ResponseWriter, r *http.Request) {
	s, err := m.snapshot(r)
	if err != nil {
		refuse(w, err)
		return
	}
	h := w.Header()
	h.Set("X-Repo-Commit", s.commit)
	missing := &refusal{http.StatusNotFound, codeEntry, "Entry not found"}
	o, ok := s.find(r.PathValue("path"))
	if !ok {
		refuse(w, missing)
		return
	}
	f, err := s.folder.OpenOffer(o)
	if errors.Is(err, fs.ErrNotExist) {
		err = missing // it was removed a moment ago
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer f.Close()
	if r.Method == http.MethodGet {
		m.verify(r.Context(), s.folder, o)
	}
	h.Set("ETag", etag(o))
	h.Set("X-Linked-Etag", etag(o))
	h.Set("X-Linked-Size", strconv.FormatInt(o.Size, 10))
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": path.Base(o.Path)}))
	// The hash is the validator, so the file's time is not given.
	http.ServeContent(w, r, "", time.Time{}, f)
}
