package attest_test

import (
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/llb/attest"
)

func TestDeviceCode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		libraries, level, archs string
		// want is the manifest, or a part of the error.
		want string
	}{
		"CPU levels, sorted":          {"libggml-cpu-x64.so libggml-cpu-haswell.so libggml-base.so.0.25.1 libllama.so", "", "", `{"schema":1,"cpu":["haswell","x64"],"vulkan":false}`},
		"Arm's levels":                {"libggml-cpu-armv8.2_1.so libggml-cpu-armv8.0_1.so", "portable", "", `{"schema":1,"cpu":["armv8.0_1","armv8.2_1"],"vulkan":false}`},
		"one level, links, paths":     {"/app/libggml-cpu.so /app/libggml-cpu.so.0 /app/libggml-cpu.so.0.25.1", "x86-64-v3", "", `{"schema":1,"cpu":["x86-64-v3"],"vulkan":false}`},
		"Vulkan":                      {"libggml-cpu-x64.so libggml-vulkan.so", "", "", `{"schema":1,"cpu":["x64"],"vulkan":true}`},
		"CUDA":                        {"libggml-cpu-x64.so libggml-cuda.so", "", "86-real;89-real;120", `{"schema":1,"cpu":["x64"],"cuda":{"sass":["86","89","120"],"ptx":["120"]},"vulkan":false}`},
		"CUDA, by number, each once":  {"libggml-cpu-x64.so libggml-cuda.so", "", "120-real;90a;90-real;86-virtual;90-real", `{"schema":1,"cpu":["x64"],"cuda":{"sass":["90","90a","120"],"ptx":["86","90a"]},"vulkan":false}`},
		"no PTX":                      {"libggml-cpu-x64.so libggml-cuda.so", "", "121a-real", `{"schema":1,"cpu":["x64"],"cuda":{"sass":["121a"],"ptx":[]},"vulkan":false}`},
		"not a library":               {"libggml-cpu-x64.so libggml-cuda.so.md5 my-libggml-vulkan.so", "", "", `{"schema":1,"cpu":["x64"],"vulkan":false}`},
		"no libraries":                {"", "", "", "no CPU backend"},
		"one level, and not which":    {"libggml-cpu.so", "", "", "the level of the image"},
		"CUDA without architectures":  {"libggml-cpu-x64.so libggml-cuda.so", "", "", "contradicts its CUDA architectures"},
		"architectures without CUDA":  {"libggml-cpu-x64.so", "", "86", "contradicts its CUDA architectures"},
		"a word of CMake's":           {"libggml-cpu-x64.so libggml-cuda.so", "", "native", `must be a number, optionally with -real or -virtual, got "native" in "native"`},
		"a list with the wrong comma": {"libggml-cpu-x64.so libggml-cuda.so", "", "86,89", "must be a number"},
		"an empty entry":              {"libggml-cpu-x64.so libggml-cuda.so", "", "86;", `got "" in "86;"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := attest.ParseDeviceCode(strings.Fields(c.libraries), c.level, c.archs)
			if err != nil {
				if strings.HasPrefix(c.want, "{") || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			got, err := d.JSON()
			if err != nil || string(got) != c.want+"\n" {
				t.Errorf("%v: got %s, want %s", err, got, c.want)
			}
		})
	}
}
