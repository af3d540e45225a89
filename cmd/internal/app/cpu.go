package app

import (
	"bufio"
	"os"
	"strings"

	"github.com/llorch/llorch-bk/images"
)

// machineLevel is the best CPU level of this machine for an architecture. It is empty on
// other systems than Linux and for other architectures: emulated CPUs do not count.
func machineLevel(arch string) string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	key := map[string]string{"amd64": "flags", "arm64": "Features"}[arch]
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		name, value, ok := strings.Cut(sc.Text(), ":")
		if ok && strings.TrimSpace(name) == key {
			return images.BestLevel(arch, strings.Fields(value))
		}
	}
	return ""
}
