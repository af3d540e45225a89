package gpu

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/images"
)

// patience bounds a query to the driver. The driver loads its firmware first if nothing
// keeps it loaded.
const patience = 30 * time.Second

// System is the part of a machine that Read needs.
type System interface {
	// ReadFile is os.ReadFile.
	ReadFile(path string) ([]byte, error)
	// Output runs a program and returns its stdout and stderr.
	Output(ctx context.Context, name string, args ...string) (string, error)
}

// Host is this machine.
type Host struct{}

// ReadFile implements System.
func (Host) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

// Output implements System. It ends a program that hangs after 30 s.
func (Host) Output(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it did not answer within 30 s"))
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return string(out), err
}

// smi are the places of nvidia-smi on Linux and under WSL. It is the driver's own client of
// NVML. Linking NVML instead would require a C library, and would not tell more.
var smi = []string{"nvidia-smi", "/usr/bin/nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"}

const driverFile = "/proc/driver/nvidia/version"

var driverVersion = regexp.MustCompile(`\b\d{3,}\.\d+(?:\.\d+)?\b`)

// Read asks this machine for its NVIDIA driver and GPUs. A machine without them is no error:
// Why says what is missing.
func Read(ctx context.Context, sys System) images.GPUFacts {
	var f images.GPUFacts
	if raw, err := sys.ReadFile(driverFile); err == nil {
		f.Driver = driverVersion.FindString(string(raw))
	}
	for _, program := range smi {
		out, err := sys.Output(ctx, program, "--query-gpu=index,uuid,name,memory.total,driver_version,compute_cap", "--format=csv,noheader,nounits")
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil && strings.Contains(out, "compute_cap") {
			// Drivers before 495 do not know this field.
			out, err = sys.Output(ctx, program, "--query-gpu=index,uuid,name,memory.total,driver_version", "--format=csv,noheader,nounits")
			f.Why = "this driver does not report the compute capability of its GPUs"
		}
		if err != nil {
			f.Why = fmt.Sprintf("nvidia-smi: %s", firstLine(out, err))
			return f
		}
		if err := parse(&f, out); err != nil {
			f.Why = "nvidia-smi: " + err.Error()
		} else if len(f.Devices) == 0 {
			f.Why = "nvidia-smi lists no GPU"
		}
		return f
	}
	f.Why = "there is no NVIDIA driver on this machine (no nvidia-smi)"
	if f.Driver != "" {
		f.Why = "driver " + f.Driver + " is loaded, but its nvidia-smi is not installed"
	}
	return f
}

// parse reads nvidia-smi's output, one line for each GPU.
func parse(f *images.GPUFacts, out string) error {
	r := csv.NewReader(strings.NewReader(out))
	r.TrimLeadingSpace, r.FieldsPerRecord = true, -1
	rows, err := r.ReadAll()
	if err != nil {
		return err
	}
	for _, row := range rows {
		if len(row) < 5 {
			return fmt.Errorf("unexpected line %q", strings.Join(row, ", "))
		}
		index, err := strconv.Atoi(row[0])
		if err != nil {
			return fmt.Errorf("unexpected line %q", strings.Join(row, ", "))
		}
		// GPUs that share the machine's memory report none of their own.
		memory, _ := strconv.Atoi(row[3])
		d := images.GPU{Index: index, UUID: row[1], Name: row[2], MemoryMiB: memory}
		if driverVersion.MatchString(row[4]) {
			f.Driver = row[4]
		}
		if len(row) > 5 && capability.MatchString(row[5]) {
			d.Capability = row[5]
		}
		f.Devices = append(f.Devices, d)
	}
	return nil
}

var capability = regexp.MustCompile(`^\d{1,2}\.\d$`)

// firstLine is the first line that a failed program printed, or its error.
func firstLine(out string, err error) string {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return err.Error()
}
