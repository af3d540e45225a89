package transfer

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/model/gguf"
)

// maxPage is how many bytes of a web page are read for its title.
const maxPage = 64 << 10

// PageError is a web page in the place of what was asked for, such as the login page of a
// network or the page about a file.
type PageError struct {
	// Title is the page's; empty where it has none.
	Title string
}

func (e *PageError) Error() string {
	if e.Title == "" {
		return fmt.Sprintf("it is an HTML page: %v", gguf.ErrNotModel)
	}
	return fmt.Sprintf("it is an HTML page with the title %q: %v", e.Title, gguf.ErrNotModel)
}

// Unwrap says that a page is no model.
func (e *PageError) Unwrap() error { return gguf.ErrNotModel }

var title = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title`)

// AsPage is the *PageError of content that begins with head and is a web page, nil for any
// other. All is the content from its beginning.
func AsPage(head []byte, all io.Reader) error {
	if !gguf.IsHTML(head) {
		return nil
	}
	page, _ := io.ReadAll(io.LimitReader(all, maxPage)) // what can be read is enough
	m := title.FindSubmatch(page)
	if m == nil {
		return &PageError{}
	}
	return &PageError{fault.Printable(strings.Join(strings.Fields(html.UnescapeString(string(m[1]))), " "))}
}

// pageInstead reads the beginning of an answer of which nothing else is wanted. It is nil
// where that is no web page.
func pageInstead(resp *http.Response) error {
	head, err := gguf.ReadHead(resp.Body)
	if err != nil {
		return nil //nolint:nilerr // what cannot be read is no page
	}
	return AsPage(head, io.MultiReader(bytes.NewReader(head), resp.Body))
}

// judgeHead looks at a file's first bytes, so that no bulk is fetched that is not a model.
// The bytes decide, whatever type the server announces. All is the file from its beginning.
func judgeHead(head []byte, all io.Reader) error {
	if err := AsPage(head, all); err != nil {
		return err
	}
	return gguf.Check(head)
}
