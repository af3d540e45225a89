package mirror_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The requests of llama.cpp's -hf: revisions, listing, file (common/hf-cache.cpp).
func TestLlamaCpp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var refs struct {
		Branches []struct{ Name, TargetCommit string }
	}
	s.into(t, "/api/models/"+repo+"/refs", &refs)
	if len(refs.Branches) != 1 || refs.Branches[0].Name != "main" || refs.Branches[0].TargetCommit != s.hub.Commit(repo) {
		t.Fatalf("the revisions are %+v", refs)
	}
	var files []struct {
		Type, Path, OID string
		LFS             *struct{ OID string }
	}
	s.into(t, "/api/models/"+repo+"/tree/"+refs.Branches[0].TargetCommit+"?recursive=true", &files)
	hashes := map[string]string{}
	for _, f := range files {
		if f.Type != "file" {
			continue
		}
		if hashes[f.Path] = f.OID; f.LFS != nil {
			hashes[f.Path] = f.LFS.OID
		}
	}
	if len(hashes) != 3 || hashes[main4] != sum(s.content[main4]) || hashes[deep8] != sum(s.content[deep8]) || hashes[plain] != gitHash(t, s.content[plain]) {
		t.Errorf("the listing has %v", hashes)
	}
	if resp, body := s.ask(t, "GET", "/"+repo+"/resolve/"+refs.Branches[0].TargetCommit+"/"+deep8, ""); resp.StatusCode != http.StatusOK || sum(body) != sum(s.content[deep8]) {
		t.Errorf("the file: %s, %d bytes", resp.Status, len(body))
	}
}

// The manifest of llama.cpp's releases that let the Hub choose.
func TestManifest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	projectors := map[string][]byte{"mmproj-tiny-Q8_0.gguf": aModel(2000, 5), "mmproj-tiny-F16.gguf": aModel(2000, 6), "q8/mmproj-q8.gguf": aModel(2000, 7)}
	manifest := func(tag string) (model, projector, digest string) {
		t.Helper()
		var m struct {
			GGUF, Projector struct {
				Name string `json:"rfilename"`
			}
			Layers []struct{ Digest string }
		}
		_, body := s.ask(t, "GET", "/v2/"+repo+"/manifests/"+tag, "", "User-Agent: llama-cpp", "Accept: application/json")
		body = []byte(strings.NewReplacer(`"ggufFile"`, `"GGUF"`, `"mmprojFile"`, `"Projector"`).Replace(string(body)))
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatal(err)
		}
		if len(m.Layers) > 0 {
			digest = m.Layers[0].Digest
		}
		return m.GGUF.Name, m.Projector.Name, digest
	}
	for tag, want := range map[string]string{"latest": main4, "Q4_K_M": main4, "q8_0": deep8, "Q4_0": plain, plain: plain} {
		if got, projector, _ := manifest(tag); got != want || projector != "" {
			t.Errorf("%s: %q and projector %q, want %q", tag, got, projector, want)
		}
	}
	if _, _, digest := manifest("Q4_K_M"); digest != "sha256:"+sum(s.content[main4]) {
		t.Errorf("the layer is %q", digest)
	}
	d, commit := s.folder(t), s.hub.Commit(repo)
	for file, content := range projectors {
		f, err := d.OpenFile(d.Blob(sum(content)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(content)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Link(commit, file, sum(content)); err != nil {
			t.Fatal(err)
		}
	}
	for tag, want := range map[string]string{"Q4_K_M": "mmproj-tiny-F16.gguf", "Q8_0": "q8/mmproj-q8.gguf"} {
		if _, got, _ := manifest(tag); got != want {
			t.Errorf("%s: projector %q, want %q", tag, got, want)
		}
	}
}

// The requests of huggingface_hub's model_info, list_models, list_repo_refs,
// list_repo_tree and get_paths_info, and what it reads of the answers.
func TestHuggingFaceHub(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commit := s.hub.Commit(repo)
	type info struct {
		ID, SHA, Author string
		Siblings        []struct {
			Name   string `json:"rfilename"`
			Size   int64
			BlobID string `json:"blobId"`
			LFS    *struct {
				SHA256      string
				Size        int64
				PointerSize int
			}
		}
	}
	for _, path := range []string{"/api/models/" + repo, "/api/models/" + repo + "/revision/main", "/api/models/" + repo + "/revision/" + commit} {
		var got info
		s.into(t, path, &got)
		if got.ID != repo || got.SHA != commit || got.Author != "org" || len(got.Siblings) != 3 || got.Siblings[0].LFS != nil {
			t.Errorf("%s: %+v", path, got)
		}
	}
	var got info
	s.into(t, "/api/models/"+repo+"?blobs=True", &got)
	for _, f := range got.Siblings {
		if f.Size != int64(len(s.content[f.Name])) || len(f.BlobID) != 40 || (f.LFS == nil) != (f.Name == plain) || f.LFS != nil && f.LFS.SHA256 != sum(s.content[f.Name]) {
			t.Errorf("%+v", f)
		}
	}

	var list []info
	for query, want := range map[string]int{"": 1, "?search=TIN": 1, "?search=none": 0, "?author=org&limit=1": 1, "?author=other": 0} {
		if s.into(t, "/api/models"+query, &list); len(list) != want || want == 1 && list[0].ID != repo {
			t.Errorf("%q: %+v", query, list)
		}
	}

	var refs map[string][]struct{ Name, Ref, TargetCommit string }
	if err := s.folder(t).SetRevision("refs/pr/7", commit); err != nil {
		t.Fatal(err)
	}
	s.into(t, "/api/models/"+repo+"/refs?include_prs=1", &refs)
	if len(refs["branches"]) != 1 || refs["branches"][0].Ref != "refs/heads/main" || len(refs["pullRequests"]) != 1 || refs["converts"] == nil || refs["tags"] == nil {
		t.Errorf("the revisions are %+v", refs)
	}

	var all []string
	pages := 0
	for next := "/api/models/" + repo + "/tree/main?recursive=True&expand=False&limit=2"; next != ""; pages++ {
		var entries []struct{ Type, Path, OID string }
		resp := s.into(t, next, &entries)
		for _, e := range entries {
			all = append(all, e.Type+" "+e.Path)
			if len(e.OID) != 40 {
				t.Errorf("%s has the oid %q", e.Path, e.OID)
			}
		}
		link := resp.Header.Get("Link")
		address, _, _ := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if link != "" && (!strings.HasPrefix(address, s.URL+"/") || !strings.Contains(link, `rel="next"`)) {
			t.Fatalf("Link: %q", link)
		}
		next = strings.TrimPrefix(address, s.URL)
	}
	want := []string{"directory q8", "file " + deep8, "file " + plain, "file " + main4}
	if pages != 2 || !slices.Equal(all, want) {
		t.Errorf("%d pages with %q, want %q", pages, all, want)
	}
	for path, want := range map[string]int{"": 3, "/q8": 1} {
		var entries []struct{ Path string }
		if s.into(t, "/api/models/"+repo+"/tree/main"+path, &entries); len(entries) != want {
			t.Errorf("%q has %+v", path, entries)
		}
	}

	for kind, body := range map[string]string{
		"application/x-www-form-urlencoded": "paths=" + strings.ReplaceAll(deep8, "/", "%2F") + "&paths=q8&paths=none&expand=False",
		"application/json":                  fmt.Sprintf(`{"paths":[%q,"q8","none"]}`, deep8),
	} {
		resp, text := s.ask(t, http.MethodPost, "/api/models/"+repo+"/paths-info/main", body, "Content-Type: "+kind)
		var entries []struct{ Type, Path string }
		if err := json.Unmarshal(text, &entries); err != nil || resp.StatusCode != http.StatusOK || len(entries) != 2 || entries[0].Path != deep8 || entries[1].Type != "directory" {
			t.Errorf("%s: %s %s, %v", kind, resp.Status, text, err)
		}
	}
}
