package app

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	fixture "github.com/llorch/llorch-bk/fixtures/gguf"
	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/runtime/engine"
	"github.com/llorch/llorch-bk/runtime/model"
)

func TestCheckCompany(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in     Company
		server string
		// want is in the error; empty means that there is none.
		want string
	}{
		"nothing":               {Company{}, "", ""},
		"all":                   {Company{MMProj: "p.gguf", Draft: "hf:o/r", LoRAs: []string{"a.gguf=0.5", "b.gguf"}}, "--jinja", ""},
		"both ways":             {Company{MMProj: "p.gguf", NoMMProj: true}, "", "`mmproj` and `no-mmproj` exclude each other"},
		"the projector twice":   {Company{MMProj: "p.gguf"}, "--mmproj q.gguf", "`mmproj` is given twice"},
		"the draft twice":       {Company{Draft: "d.gguf"}, "-md e.gguf", "`draft` is given twice"},
		"a ref that is none":    {Company{Draft: "hf:o"}, "", "hf:o"},
		"an adapter's ref":      {Company{LoRAs: []string{"hf:o=1"}}, "", "hf:o"},
		"a scale that is none":  {Company{LoRAs: []string{"a.gguf=inf"}}, "", "`lora` has the scale inf"},
		"a path with an equals": {Company{LoRAs: []string{"a=b.gguf"}}, "", ""},
	} {
		_, err := checkCompany(c.in, strings.Fields(c.server))
		if c.want == "" && err != nil || c.want != "" && (fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	sum := strings.Repeat("12", 32)
	for word, want := range map[string]struct {
		ref   string
		scale float64
	}{
		"a.gguf": {"a.gguf", 1}, "a.gguf=0": {"a.gguf", 0}, "a.gguf=-1.5": {"a.gguf", -1.5}, "a=b.gguf=2": {"a=b.gguf", 2},
		"hf:o/r/a.gguf#sha256=" + sum:         {"hf:o/r/a.gguf#sha256=" + sum, 1},
		"hf:o/r/a.gguf#sha256=" + sum + "=.5": {"hf:o/r/a.gguf#sha256=" + sum, .5},
	} {
		if a, err := parseAdapter(word); err != nil || a.ref.Raw != want.ref || a.scale != want.scale {
			t.Errorf("%s: %s, %v, %v", word, a.ref.Raw, a.scale, err)
		}
	}
}

// family is a hub with a model, its projector and a draft, an adapter beside it, and the
// program with a store of its own.
func family(t *testing.T) (*App, *hub.Hub, string) {
	t.Helper()
	write := func(do func(io.Writer) error) []byte {
		var b strings.Builder
		if err := do(&b); err != nil {
			t.Fatal(err)
		}
		return []byte(b.String())
	}
	tiny := write(fixture.WriteTinyLlama)
	h := hub.New(t)
	h.Add("org/eye", "eye-Q8_0.gguf", tiny)
	h.Add("org/eye", "mmproj-eye-f16.gguf", write(func(w io.Writer) error { return fixture.WriteProjector(w, 320) }))
	h.Add("org/eye", "mtp-eye-Q8_0.gguf", slices.Concat(tiny, []byte{0}))
	h.Add("org/small", "small-Q8_0.gguf", slices.Concat(tiny, []byte{1}))
	dir := t.TempDir()
	lora := filepath.Join(dir, "style.gguf")
	if err := os.WriteFile(lora, write(func(w io.Writer) error {
		return fixture.WriteLoRA(w, fixture.LoRA{Architecture: "llama", Embedding: 320, FeedForward: 64, Blocks: 1})
	}), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"HOME": dir, "HF_ENDPOINT": h.Endpoint(), "LLORCH_MODEL_DIR": filepath.Join(dir, "store")}
	a := &App{Out: t.Output(), Err: t.Output(), Getenv: func(name string) string { return env[name] }, Progress: "quiet"}
	return a, h, lora
}

// accompanied is a request with its companions on this host.
func accompanied(t *testing.T, a *App, change func(*RunOptions)) (checkedRun, model.Local, error) {
	t.Helper()
	opt := options(t.TempDir())
	opt.Model = "hf:org/eye:Q8_0"
	change(&opt)
	r, err := check(opt)
	if err != nil {
		t.Fatal(err)
	}
	f, l := fetched(t, a, r.ref)
	r, err = r.accompany(t.Context(), f, l)
	return r, l, err
}

// fetched is a model that a program has fetched, and what fetched it.
func fetched(t *testing.T, a *App, r model.Ref) (*model.Fetcher, model.Local) {
	t.Helper()
	f, err := a.fetcher(nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := f.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return f, l
}

// helper is a server that prints a help.
type helper struct {
	engine.Prober
	asked int
	lines []string
}

func (h *helper) Help(context.Context, engine.Spec) ([]string, error) {
	h.asked++
	return h.lines, nil
}

func newHelper(t *testing.T, version string) *helper {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "runtime", "engine", "testdata", "help-"+version+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return &helper{lines: engine.Lines(string(b))}
}

// What belongs to a model comes with it, is given to the server, counts in the run's
// digest and stands in the handoff.
func TestAccompany(t *testing.T) {
	t.Parallel()
	a, _, lora := family(t)
	for name, c := range map[string]struct {
		change func(*RunOptions)
		kinds  string
		flags  string
	}{
		"its own projector":           {func(*RunOptions) {}, "mmproj", "--mmproj /files/0/mmproj-eye-f16.gguf"},
		"none":                        {func(o *RunOptions) { o.NoMMProj = true }, "", ""},
		"none for the server":         {func(o *RunOptions) { o.Server = []string{"--no-mmproj"} }, "", "--no-mmproj"},
		"a draft":                     {func(o *RunOptions) { o.Draft, o.NoMMProj = "hf:org/small", true }, "draft", "--spec-draft-model /files/0/small-Q8_0.gguf --spec-type draft-simple"},
		"a head by its repository":    {func(o *RunOptions) { o.Draft, o.NoMMProj = "hf:org/eye", true }, "draft", "--spec-draft-model /files/0/mtp-eye-Q8_0.gguf --spec-type draft-mtp"},
		"its own head, as -hf does":   {func(o *RunOptions) { o.NoMMProj, o.Server = true, []string{"--spec-type", "draft-mtp"} }, "draft", "--spec-draft-model /files/0/mtp-eye-Q8_0.gguf --spec-type draft-mtp"},
		"an adapter":                  {func(o *RunOptions) { o.NoMMProj, o.LoRAs = true, []string{lora + "=0.5"} }, "lora", "--lora-scaled /files/0/style.gguf:0.5"},
		"an adapter after the dashes": {func(o *RunOptions) { o.NoMMProj, o.Server = true, []string{"--lora", lora} }, "lora", "--lora /files/0/style.gguf"},
		"beside a file of the user's": {func(o *RunOptions) { o.Server = []string{"--lora", lora} }, "mmproj lora", "--mmproj /files/1/mmproj-eye-f16.gguf --lora /files/0/style.gguf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, l, err := accompanied(t, a, c.change)
			if err != nil {
				t.Fatal(err)
			}
			img := imageOf{ID: "sha256:" + strings.Repeat("1", 64)}
			if r, err = a.introduce(t.Context(), newHelper(t, "v0.5.0"), r, img, l); err != nil {
				t.Fatal(err)
			}
			spec, err := r.specOf(img, l)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(spec.Flags, " "); !strings.HasPrefix(got, c.flags) {
				t.Errorf("flags %q, want %q first", got, c.flags)
			}
			h, err := describe(t.Context(), instance(nobody, spec.Labels))
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, one := range h.Model.Companions {
				kinds = append(kinds, one.Kind)
				content, err := os.ReadFile(one.Path)
				if err != nil || sha(string(content)) != one.SHA256 || int64(len(content)) != one.Size || one.Ref == "" {
					t.Errorf("the handoff has %+v, %v", one, err)
				}
				if !slices.ContainsFunc(spec.Files, func(f engine.File) bool { return f.Host == one.Path && f.Digest == "sha256:"+one.SHA256 }) {
					t.Errorf("the server does not see %s by its content: %+v", one.Path, spec.Files)
				}
			}
			if got := strings.Join(kinds, " "); got != c.kinds {
				t.Errorf("companions %q, want %q", got, c.kinds)
			}
		})
	}
}

func TestAccompanyRefuses(t *testing.T) {
	t.Parallel()
	a, _, lora := family(t)
	for name, c := range map[string]struct {
		change func(*RunOptions)
		want   string
	}{
		"a projector that is an adapter": {func(o *RunOptions) { o.MMProj = lora }, "cannot be a projector: it is an adapter"},
		"a draft that is a projector":    {func(o *RunOptions) { o.Draft = "hf:org/eye/mmproj-eye-f16.gguf" }, "cannot be a draft: it is a projector"},
		"an adapter that is a model":     {func(o *RunOptions) { o.LoRAs = []string{"hf:org/small"} }, "cannot be a LoRA adapter: it is a model"},
		"an adapter that is not there":   {func(o *RunOptions) { o.LoRAs = []string{lora + "x"} }, "no such file"},
		"a repository without one":       {func(o *RunOptions) { o.MMProj = "hf:org/small" }, "has no projector"},
	} {
		if _, _, err := accompanied(t, a, c.change); fault.ClassOf(err) != fault.Model || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a fault.Model with %q", name, err, c.want)
		}
	}
}

// An image is asked for its flags once; one that does not say them is refused, unless it
// is to be given nothing.
func TestIntroduceAsksOnce(t *testing.T) {
	t.Parallel()
	a, _, lora := family(t)
	r, l, err := accompanied(t, a, func(o *RunOptions) { o.LoRAs = []string{lora} })
	if err != nil {
		t.Fatal(err)
	}
	img := imageOf{ID: "sha256:" + strings.Repeat("2", 64), Ref: "some:image"}
	silent := &helper{lines: []string{"what?"}}
	if _, err := a.introduce(t.Context(), silent, r, img, l); fault.ClassOf(err) != fault.Engine || !strings.Contains(fault.Report(err), "what?") {
		t.Errorf("a server that does not say: %v", err)
	}
	h := newHelper(t, "b5415")
	for range 2 {
		if _, err := a.introduce(t.Context(), h, r, img, l); err != nil {
			t.Fatal(err)
		}
	}
	if h.asked != 1 {
		t.Errorf("it was asked %d times", h.asked)
	}
	r.companions = nil
	if _, err := a.introduce(t.Context(), silent, r, imageOf{ID: "sha256:3"}, l); err != nil || silent.asked != 1 {
		t.Errorf("nothing to give: asked %d times, %v", silent.asked, err)
	}
}

// A pull brings the projector along, and a dry run misses one that is not here.
func TestPullAndPlanWithCompanions(t *testing.T) {
	t.Parallel()
	a, _, _ := family(t)
	alone, err := a.PullModel(t.Context(), "hf:org/eye:Q8_0", true)
	if err != nil || len(alone.Companions) != 0 {
		t.Fatalf("alone: %+v, %v", alone.Companions, err)
	}
	opt := options(t.TempDir())
	opt.Model, opt.Draft = "hf:org/eye:Q8_0", "hf:org/small"
	r, err := check(opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, fetch, err := a.hasModel(t.Context(), r); err != nil || !strings.Contains(fetch, "its companions") {
		t.Errorf("a draft that is not here: %q, %v", fetch, err)
	}
	got, err := a.PullModel(t.Context(), "hf:org/eye:Q8_0", false)
	if err != nil || len(got.Companions) != 1 || got.Companions[0].Kind != engine.KindProjector {
		t.Fatalf("%+v, %v", got.Companions, err)
	}
	all, err := a.Models()
	if err != nil || len(all) != 1 || len(all[0].Companions) != 1 {
		t.Errorf("the list is %+v, %v", all, err)
	}
}
