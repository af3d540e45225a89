package doctor

import (
	"fmt"

	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
)

// The findings about GPUs and the images that are built for them.
const (
	// FindingGPUPlan means that no CUDA toolkit supports this machine's GPUs.
	FindingGPUPlan = "gpu-plan"
	// FindingGPUArch is an image without code for a GPU of this machine.
	FindingGPUArch = "gpu-arch"
	// FindingGPUDriverOld is a driver that is too old for an image.
	FindingGPUDriverOld = "gpu-driver-old"
)

// GPUImage is an image that was built for NVIDIA GPUs.
type GPUImage struct {
	Ref string
	// CUDA is the toolkit's version; Archs are the architectures it was compiled for.
	CUDA  string
	Archs []string
}

// GPUFindings reports mismatches between a machine's GPUs and the images that are, or can
// be, built for them. It checks only the first image, which must be the newest.
func GPUFindings(host images.GPUFacts, built []GPUImage) []Finding {
	var all []Finding
	if len(host.Capabilities()) > 0 {
		_, err := images.Choose(images.Request{Variant: "cuda", CUDAArch: []string{images.CUDAAuto}}, images.Facts{GPU: &host})
		if f, ok := err.(*fault.Fault); ok { //nolint:errorlint // Choose returns nothing else
			all = append(all, Finding{
				ID: FindingGPUPlan, Severity: Warning, What: "no CUDA toolkit supports this machine's GPUs",
				Why: fmt.Sprint(f.Why), Do: []string{"# " + f.Do},
			})
		}
	}
	if len(built) == 0 {
		return all
	}
	img := built[0]
	again := []string{"llorch-bk build `variant=cuda` `cuda-arch=auto`"}
	for _, d := range host.Devices {
		if d.Capability == "" || len(img.Archs) == 0 || img.Archs[0] == "" {
			continue
		}
		if err := images.Serves(img.Archs, d.Capability); err != nil {
			all = append(all, Finding{
				ID: FindingGPUArch, Severity: Warning, What: fmt.Sprintf("the image %s does not run on GPU %d, %s", img.Ref, d.Index, d.Name),
				Why: err.Error(), Do: again,
			})
		}
	}
	if need := images.MinDriver(img.CUDA); need != "" && host.Driver != "" && images.CompareVersions(host.Driver, need) < 0 {
		all = append(all, Finding{
			ID: FindingGPUDriverOld, Severity: Warning, What: fmt.Sprintf("driver %s is too old for the image %s", host.Driver, img.Ref),
			Why: fmt.Sprintf("CUDA %s needs %s or newer", img.CUDA, need), Do: append([]string{"# update the driver, or build an image for it:"}, again...),
		})
	}
	return all
}
