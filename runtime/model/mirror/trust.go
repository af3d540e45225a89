package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/runtime/model/digest"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
	"github.com/llorch/llorch-bk/runtime/model/store"
)

// content is a file as it is now. When it is changed, it is another one.
type content struct {
	path    string
	size    int64
	changed time.Time
}

// trust is what is known of a content.
type trust struct {
	// wrong says that it is not what it was.
	wrong bool
	// hashing says that its hash was, or is being, taken.
	hashing bool
}

// contentOf is an offered file's content, false where it is gone.
func contentOf(d store.Folder, o store.Offer) (content, bool) {
	p := d.OfferPath(o)
	info, err := os.Stat(p)
	if err != nil {
		return content{}, false
	}
	return content{p, info.Size(), info.ModTime()}, true
}

// whole are the offers that are not known to be spoilt. A model that is shorter than its
// header says is found here, once for each content.
func (m *Mirror) whole(d store.Folder, all []store.Offer) []store.Offer {
	var out []store.Offer
	for _, o := range all {
		at, ok := contentOf(d, o)
		if !ok {
			continue
		}
		m.mu.Lock()
		_, seen := m.known[at]
		m.mu.Unlock()
		if !seen {
			m.examine(at, o)
		}
		if !m.isWrong(at) {
			out = append(out, o)
		}
	}
	return out
}

// examine remembers whether a model is as long as its header says.
func (m *Mirror) examine(at content, o store.Offer) {
	t := &trust{}
	if strings.HasSuffix(o.Path, ".gguf") {
		_, err := gguf.ExamineFile(at.path)
		t.wrong = errors.Is(err, gguf.ErrCut)
	}
	m.remember(at, t)
	if t.wrong {
		m.withdraw(at, "the file is cut off")
	}
}

func (m *Mirror) remember(at content, t *trust) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[content]*trust{}
	}
	if m.known[at] == nil {
		m.known[at] = t
	}
}

func (m *Mirror) isWrong(at content) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[at] != nil && m.known[at].wrong
}

// verify takes the hash of a file that is asked for, once for each content and beside the
// transfer, because llama.cpp verifies none. A file that does not have it is not offered
// again.
func (m *Mirror) verify(ctx context.Context, d store.Folder, o store.Offer) {
	at, ok := contentOf(d, o)
	if !ok {
		return
	}
	m.remember(at, &trust{})
	m.mu.Lock()
	begun := m.known[at].hashing
	m.known[at].hashing = true
	m.mu.Unlock()
	if begun {
		return
	}
	go func() {
		want := cmp.Or(o.SHA256, o.Git)
		got, err := digest.File(context.WithoutCancel(ctx), at.path, want, at.size, func(int64) {})
		if err == nil && got == want {
			return
		}
		m.mu.Lock()
		m.known[at].wrong = true
		m.mu.Unlock()
		m.withdraw(at, fmt.Sprintf("it hashes to %s, want %s", cmp.Or(got, "nothing"), want))
	}()
}

func (m *Mirror) withdraw(at content, why string) {
	if m.Withdrew != nil {
		m.Withdrew(at.path, why)
	}
}
