package model

import (
	"context"
	"path"

	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/hub"
	"github.com/llorch/llorch-bk/runtime/model/store"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// pick chooses the file of a repository that a ref means. The headers of files whose names
// leave a doubt are read from the Hub.
func (f *Fetcher) pick(ctx context.Context, r Ref, names []string, asked *hub.Lookup) (file, why string, err error) {
	return gguf.PickBy(names, r.Quant, func(name string) (gguf.Facts, error) {
		one := r
		one.File = name
		return f.remoteFacts(ctx, one, asked)
	})
}

// pickStored is pick among the files that the store has of a commit.
func pickStored(d store.Folder, commit, quant string) (file, why string, err error) {
	return gguf.PickBy(d.Files(commit), quant, func(name string) (gguf.Facts, error) {
		return gguf.ExamineFile(d.File(commit, name))
	})
}

// remoteFacts is what the header of a file of the Hub says. It is shown as a step of its
// own, which does not fail: what cannot be read leaves the name of the file.
func (f *Fetcher) remoteFacts(ctx context.Context, r Ref, asked *hub.Lookup) (gguf.Facts, error) {
	task := f.begin("read the header of "+path.Base(r.File), 0)
	defer task.End(nil)
	file, err := asked.File(ctx, r.File, 1, task.Note)
	if err != nil {
		return gguf.Facts{}, err
	}
	return f.factsOf(ctx, file.Source)
}

// factsOf is what the header of a remote file says. No more of the file is fetched.
func (f *Fetcher) factsOf(ctx context.Context, src transfer.Source) (gguf.Facts, error) {
	in := f.client().Beginning(ctx, src, gguf.MaxHeader)
	defer in.Close()
	return gguf.Examine(in, src.Size)
}

// isAlone reports whether of the parts that a file's name speaks of no other was found.
func isAlone(r Ref, parts []string, found []located) bool {
	for _, at := range found {
		if at.ref.File != r.File {
			return false
		}
	}
	return len(parts) > 1 && len(found) < 2
}

// isMerged reports whether a file that is named as a part of a model is a whole one, by
// its header.
func (f *Fetcher) isMerged(ctx context.Context, r Ref, d store.Folder, asked *hub.Lookup) bool {
	var facts gguf.Facts
	var err error
	commit := d.CommitOf(r.Revision)
	if _, _, have := d.Stored(commit, r.File); have {
		facts, err = gguf.ExamineFile(d.File(commit, r.File))
	} else if f.Environment.Offline {
		return false
	} else {
		facts, err = f.remoteFacts(ctx, r, asked)
	}
	return err == nil && facts.Split.Count < 2
}

// partsOf are the files of the model that a file of the Hub belongs to, by its name or,
// where the store has that very file, by its header.
func partsOf(r Ref, d store.Folder) []string {
	names := gguf.Shards(r.File)
	if _, _, have := d.Stored(r.Revision, r.File); have && len(names) > 1 && len(gguf.Parts(d.File(r.Revision, r.File))) == 1 {
		return []string{r.File}
	}
	return names
}
