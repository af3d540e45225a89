package images_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/llorch/llorch-bk/images"
)

// Lines "flags" and "Features" of /proc/cpuinfo, shortened to instruction sets.
const (
	bonnell   = "fpu sse sse2 ss ht lm pni dtes64 monitor ssse3 cx16 movbe lahf_lm"
	silver    = "fpu sse sse2 lm pni pclmulqdq ssse3 sdbg cx16 sse4_1 sse4_2 movbe popcnt aes xsave rdrand lahf_lm 3dnowprefetch"
	sandy     = "fpu sse sse2 lm pni pclmulqdq ssse3 cx16 sse4_1 sse4_2 popcnt aes xsave avx lahf_lm"
	haswell   = "fpu sse sse2 lm pni pclmulqdq ssse3 sdbg fma cx16 pcid sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand lahf_lm abm bmi1 avx2 bmi2 erms invpcid"
	zen2      = "fpu sse sse2 lm pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand lahf_lm cmp_legacy abm sse4a misalignsse 3dnowprefetch bmi1 avx2 bmi2 rdseed adx clflushopt clwb sha_ni umip rdpid"
	zen4      = zen2 + " avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx512_bf16 avx512vbmi avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg avx512_vpopcntdq"
	skylakeX  = haswell + " avx512f avx512dq rdseed adx clflushopt clwb avx512cd avx512bw avx512vl xsaveopt xsavec"
	knights   = haswell + " avx512f avx512pf avx512er avx512cd"
	a72       = "fp asimd evtstrm crc32 cpuid"
	graviton2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
	graviton3 = graviton2 + " sha3 sm3 sm4 sha512 sve asimdfhm dit uscat ilrcpc flagm paca pacg dcpodp svei8mm svebf16 i8mm bf16 dgh rng"
)

func TestBestLevel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ arch, features, want string }{
		"Atom Bonnell (2008)":                {"amd64", bonnell, "x86-64-v1"},
		"Atom Silvermont (2013)":             {"amd64", silver, "x86-64-v2"},
		"Sandy Bridge, AVX but no AVX2":      {"amd64", sandy, "x86-64-v2"},
		"Haswell":                            {"amd64", haswell, "x86-64-v3"},
		"Zen 2":                              {"amd64", zen2, "x86-64-v3"},
		"Zen 4":                              {"amd64", zen4, "x86-64-v4"},
		"Skylake-X":                          {"amd64", skylakeX, "x86-64-v4"},
		"Knights Landing, half of AVX-512":   {"amd64", knights, "x86-64-v3"},
		"a virtual machine that hides much":  {"amd64", "fpu sse sse2 lm hypervisor", "x86-64-v1"},
		"Cortex-A72 (Raspberry Pi 4)":        {"arm64", a72, "armv8-a"},
		"Graviton 2":                         {"arm64", graviton2, "armv8.2-a"},
		"Graviton 3":                         {"arm64", graviton3, "armv8.6-a"},
		"features of another architecture":   {"arm64", zen4, "armv8-a"},
		"an architecture without any levels": {"riscv64", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := images.BestLevel(c.arch, strings.Fields(c.features)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestRunsOnLevel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		arch, image, machine string
		want                 bool
	}{
		{"amd64", "x86-64-v2", "x86-64-v4", true},
		{"amd64", "x86-64-v3", "x86-64-v3", true},
		{"amd64", "x86-64-v4", "x86-64-v3", false},
		{"amd64", images.CPUPortable, "x86-64-v1", true},
		{"amd64", images.CPUPortable, "", true},
		{"amd64", "x86-64-v1", "", false},
		{"amd64", "", "x86-64-v3", false},
		{"amd64", "armv8-a", "x86-64-v4", false},
		{"arm64", "x86-64-v1", "armv8.6-a", false},
		{"arm64", "armv8.2-a", "armv8.6-a", true},
	} {
		if got := images.RunsOnLevel(c.arch, c.image, c.machine); got != c.want {
			t.Errorf("an image for %q on a %s machine of level %q: %v", c.image, c.arch, c.machine, got)
		}
	}
}

// What is left out of a level's flags would be ON.
func TestLevelsSetEveryOption(t *testing.T) {
	t.Parallel()
	names := func(l images.Level) string {
		var out []string
		for _, f := range l.Flags {
			name, _, _ := strings.Cut(f, "=")
			out = append(out, name)
		}
		return strings.Join(out, " ")
	}
	of := map[string]string{}
	for i, l := range images.Levels {
		if want, ok := of[l.Arch]; ok && names(l) != want {
			t.Errorf("%s sets %s, the others of %s set %s", l.Name, names(l), l.Arch, want)
		}
		of[l.Arch] = names(l)
		if i > 0 && images.Levels[i-1].Arch == l.Arch {
			for _, need := range images.Levels[i-1].Needs {
				if !slices.Contains(l.Needs, need) {
					t.Errorf("%s does not need %s, which the level below it does", l.Name, need)
				}
			}
		}
		if got, err := images.FindLevel(l.Arch, l.Name); err != nil || got.Name != l.Name {
			t.Errorf("%s: %v, %v", l.Name, got, err)
		}
	}
}
