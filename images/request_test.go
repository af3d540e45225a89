package images_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

// request is a valid one; a test changes what it is about.
func request(change func(*images.Request)) images.Request {
	r := images.Request{
		Source:   images.DefaultRepository,
		Ref:      images.DefaultRef,
		Variant:  "cpu",
		Platform: "linux/amd64",
		CPU:      images.CPUPortable,
	}
	if change != nil {
		change(&r)
	}
	return r
}

func cuda(r *images.Request) { r.Variant = "cuda" }

func normal(t *testing.T, change func(*images.Request)) images.Request {
	t.Helper()
	r, err := request(change).Normalise()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNormaliseFlags(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ give, want []string }{
		"none":                           {nil, []string{}},
		"sorted":                         {[]string{"-DB=1", "-DA=2"}, []string{"-DA=2", "-DB=1"}},
		"the last of a name wins":        {[]string{"-DA=1", "-DA=2"}, []string{"-DA=2"}},
		"a type is dropped":              {[]string{"-DA:BOOL=ON", "-DB:STRING=x"}, []string{"-DA=ON", "-DB=x"}},
		"typed and untyped are one name": {[]string{"-DA:BOOL=ON", "-DA=OFF"}, []string{"-DA=OFF"}},
		"empty value":                    {[]string{"-DA="}, []string{"-DA="}},
		"a value may hold anything else": {[]string{"-DA=x=y -DZ=1;$ORIGIN"}, []string{"-DA=x=y -DZ=1;$ORIGIN"}},
		"native off is the truth anyway": {[]string{"-DGGML_NATIVE=off"}, []string{"-DGGML_NATIVE=off"}},
		"no CUDA is fine without CUDA":   {[]string{"-DGGML_CUDA=OFF"}, []string{"-DGGML_CUDA=OFF"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := normal(t, func(r *images.Request) { r.CMakeFlags = c.give })
			if diff := cmp.Diff(c.want, r.CMakeFlags); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNormaliseRenamesOldCUDAFlags(t *testing.T) {
	t.Parallel()
	for _, old := range []string{"-DLLAMA_CUBLAS=ON", "-DLLAMA_CUDA=ON", "-DLLAMA_CUBLAS:BOOL=ON"} {
		r := normal(t, func(r *images.Request) { cuda(r); r.CMakeFlags = []string{old} })
		if diff := cmp.Diff([]string{"-DGGML_CUDA=ON"}, r.CMakeFlags); diff != "" {
			t.Errorf("%s: %s", old, diff)
		}
	}
}

func TestNormaliseCUDAArchs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ give, want []string }{
		"both spellings":                  {[]string{"8.6", "89"}, []string{"86", "89"}},
		"doubles":                         {[]string{"86", "8.6", "86"}, []string{"86"}},
		"by number, not by letter":        {[]string{"120", "89", "100"}, []string{"89", "100", "120"}},
		"a suffix does not make it newer": {[]string{"100", "90a"}, []string{"90a", "100"}},
		"the plain one before its suffix": {[]string{"90a", "90", "12.0f", "120a"}, []string{"90", "90a", "120a", "120f"}},
		"all":                             {[]string{"all"}, []string{"all"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := normal(t, func(r *images.Request) { cuda(r); r.CUDAArch = c.give })
			if diff := cmp.Diff(c.want, r.CUDAArch); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNormaliseNames(t *testing.T) {
	t.Parallel()
	r := normal(t, func(r *images.Request) {
		r.Tags = []string{"me/llama:b", "llama", "localhost:5000/x", "docker.io/library/llama:latest"}
		r.Base = "debian:trixie"
	})
	want := []string{"docker.io/library/llama:latest", "docker.io/me/llama:b", "localhost:5000/x:latest"}
	if diff := cmp.Diff(want, r.Tags); diff != "" {
		t.Error(diff)
	}
	if r.Base != "docker.io/library/debian:trixie" {
		t.Errorf("base %q", r.Base)
	}
}

func TestNormaliseTwiceIsOnce(t *testing.T) {
	t.Parallel()
	once := normal(t, func(r *images.Request) {
		cuda(r)
		r.CUDAArch, r.Tags, r.Base = []string{"8.6", "75"}, []string{"b", "a"}, "ubuntu"
		r.CMakeFlags = []string{"-DLLAMA_CUBLAS=ON", "-DA:PATH=/x"}
	})
	twice, err := once.Normalise()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(once, twice); diff != "" {
		t.Error(diff)
	}
}

func TestNormaliseRefuses(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	for name, c := range map[string]struct {
		change func(*images.Request)
		want   string
	}{
		"variant":                {func(r *images.Request) { r.Variant = "rocm" }, `variant must be one of cpu, cuda, cuda12, cuda13, cuda-debian, vulkan, got "rocm"`},
		"platform":               {func(r *images.Request) { r.Platform = "windows/amd64" }, `platform must be one of linux/amd64, linux/arm64, got "windows/amd64"`},
		"no platform":            {func(r *images.Request) { r.Platform = "" }, `linux/arm64, got ""`},
		"level":                  {func(r *images.Request) { r.CPU = "haswell" }, `CPU level must be one of portable, native, x86-64-v1, x86-64-v2, x86-64-v3, x86-64-v4, got "haswell"`},
		"level of another arch":  {func(r *images.Request) { r.CPU = "armv8-a" }, `x86-64-v4, got "armv8-a"`},
		"no level":               {func(r *images.Request) { r.CPU = "" }, `x86-64-v4, got ""`},
		"a flag that is none":    {func(r *images.Request) { r.CMakeFlags = []string{"--fresh"} }, `CMake flag must have the form -DNAME=VALUE, got "--fresh"`},
		"a flag without a value": {func(r *images.Request) { r.CMakeFlags = []string{"-DA"} }, `CMake flag must have the form -DNAME=VALUE, got "-DA"`},
		"a line break":           {func(r *images.Request) { r.CMakeFlags = []string{"-DA=x\ny"} }, `CMake flag "-DA=x\ny": the value must not have line breaks`},
		"native":                 {func(r *images.Request) { r.CMakeFlags = []string{"-DGGML_NATIVE:BOOL=ON"} }, "use `cpu=native`"},
		"CUDA without CUDA":      {func(r *images.Request) { r.CMakeFlags = []string{"-DLLAMA_CUBLAS=1"} }, "use `cuda`"},
		"archs without CUDA":     {func(r *images.Request) { r.CUDAArch = []string{"86"} }, "`cuda-arch` needs a CUDA variant, got \"cpu\""},
		"an arch that is none":   {func(r *images.Request) { cuda(r); r.CUDAArch = []string{"ampere"} }, `CUDA architecture must have the form 86 or 8.6, or be all or auto alone; got "ampere"`},
		"all and more":           {func(r *images.Request) { cuda(r); r.CUDAArch = []string{"all", "86"} }, `alone; got "all"`},
		"a tag with a capital":   {func(r *images.Request) { r.Tags = []string{"Me/X"} }, `tag "Me/X"`},
		"a tag with a digest":    {func(r *images.Request) { r.Tags = []string{"x@" + digest} }, "must not have a digest"},
		"a base that is no name": {func(r *images.Request) { r.Base = "a b" }, `base "a b"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := request(c.change).Normalise()
			if fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got class %d: %v\nwant a usage fault with %q", fault.ClassOf(err), err, c.want)
			}
		})
	}
}

func TestNormaliseSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := images.Request{
		Variant: "rocm", Platform: "plan9/mips", CPU: "x",
		CMakeFlags: []string{"A=1", "-DGGML_NATIVE=ON"},
		CUDAArch:   []string{"x", "86"},
		Tags:       []string{"A", "b c"},
		Base:       "?",
	}.Normalise()
	if fault.ClassOf(err) != fault.Usage {
		t.Fatalf("class %d", fault.ClassOf(err))
	}
	for _, want := range []string{`"rocm"`, `"plan9/mips"`, `"A=1"`, "GGML_NATIVE", `"x"`, `tag "A"`, `tag "b c"`, `base "?"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not reported in:\n%v", want, err)
		}
	}
}
