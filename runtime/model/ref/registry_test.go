package ref

import (
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images/fault"
)

func TestRegistryRefs(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("cd", 32)
	for raw, want := range map[string]Ref{
		"oci://smollm2":                        {Repo: "docker.io/ai/smollm2", Revision: "latest"},
		"oci://ai/smollm2:360M-Q4_K_M":         {Repo: "docker.io/ai/smollm2", Revision: "360M-Q4_K_M"},
		"OCI://ghcr.io/org/m@sha256:" + digest: {Repo: "ghcr.io/org/m", Revision: digest},
		"oci://localhost:5000/m:1":             {Repo: "localhost:5000/m", Revision: "1"},
		"oci://library/m":                      {Repo: "docker.io/library/m", Revision: "latest"},
	} {
		if got, err := Parse(raw); err != nil || got.Kind != Registry || got.Repo != want.Repo || got.Revision != want.Revision {
			t.Errorf("%s: %#v %s@%s, %v", raw, got, got.Repo, got.Revision, err)
		}
	}
	for _, raw := range []string{"oci://", "oci://org/UPPER", "oci://a b", "oci://m:1#x", "oci://user:pw@host/m", "oci://m@sha256:12"} {
		if _, err := Parse(raw); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
