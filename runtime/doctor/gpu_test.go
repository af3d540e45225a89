package doctor

import (
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images"
)

func TestGPUFindings(t *testing.T) {
	t.Parallel()
	machine := func(driver string, capabilities ...string) images.GPUFacts {
		f := images.GPUFacts{Driver: driver}
		for i, c := range capabilities {
			f.Devices = append(f.Devices, images.GPU{Index: i, Name: "GPU of " + c, Capability: c})
		}
		return f
	}
	img := func(cuda, archs string) []GPUImage {
		return []GPUImage{{Ref: "llorch-bk:cuda", CUDA: cuda, Archs: strings.Split(archs, ";")}, {Ref: "old", CUDA: "13.0", Archs: []string{"120-real"}}}
	}
	for name, c := range map[string]struct {
		host  images.GPUFacts
		built []GPUImage
		// want are the findings' ids, says a part of the first one.
		want, says string
	}{
		"all is well":                     {machine("570.124.06", "8.6"), img("12.8", "86"), "", ""},
		"nothing is built yet":            {machine("570.124.06", "8.6"), nil, "", ""},
		"an image for other GPUs":         {machine("570.124.06", "6.1"), img("12.8", "86"), FindingGPUArch, "GPU 0, GPU of 6.1"},
		"one of two GPUs is left out":     {machine("570.124.06", "8.9", "6.1"), img("12.8", "89"), FindingGPUArch, "GPU 1"},
		"CUDA 13 on an older driver":      {machine("570.124.06", "8.6"), img("13.0", "86"), FindingGPUDriverOld, "570.124.06"},
		"a driver for nothing":            {machine("470.256.02", "8.6"), nil, FindingGPUPlan, "no CUDA toolkit"},
		"a driver for nothing, an image":  {machine("470.256.02", "8.6"), img("12.8", "86"), FindingGPUPlan + " " + FindingGPUDriverOld, "no CUDA toolkit"},
		"a GPU that is too old for all":   {machine("570.124.06", "3.5"), nil, FindingGPUPlan, "no CUDA toolkit"},
		"an image of a toolkit not ours":  {machine("570.124.06", "8.6"), img("11.8", "86"), "", ""},
		"an image that says no archs":     {machine("570.124.06", "8.6"), []GPUImage{{Ref: "x", CUDA: "12.8", Archs: []string{""}}}, "", ""},
		"a driver that tells little":      {machine("418.226.00", ""), img("12.8", "86"), FindingGPUDriverOld, "418"},
		"a driver that says nothing more": {machine("", "8.6"), img("12.8", "86"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := GPUFindings(c.host, c.built)
			var ids []string
			for _, f := range found {
				ids = append(ids, f.ID)
				if f.Severity != Warning || f.Why == "" || len(f.Do) == 0 {
					t.Errorf("a finding is not whole: %+v", f)
				}
			}
			if got := strings.Join(ids, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.says != "" && (len(found) == 0 || !strings.Contains(found[0].What, c.says)) {
				t.Errorf("no %q in %+v", c.says, found)
			}
		})
	}
}
