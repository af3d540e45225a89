package model

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/llorch/llorch-bk/fixtures/hub"
	"github.com/llorch/llorch-bk/runtime/model/mirror"
	"github.com/llorch/llorch-bk/runtime/model/ref"
	"github.com/llorch/llorch-bk/runtime/model/transfer"
)

// BenchmarkModel compares fetching with curl, each the median of several runs, and
// prints a table; LLORCH_BENCH_OUT names a file for it. `make bench-model` runs it.
func BenchmarkModel(b *testing.B) {
	if os.Getenv("LLORCH_BENCH_OUT") == "" {
		b.Skip("it takes minutes: make bench-model runs it")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		b.Skip("there is no curl to compare with")
	}
	var table bytes.Buffer
	tw := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "case\tours\tcurl -o\tratio\tbar\tmemory")
	for b.Loop() {
		loopback(b, tw)
		secondMachine(b, tw)
		farAway(b, tw)
		presentAndResumed(b, tw)
	}
	_ = tw.Flush()
	fmt.Printf("\n%s\n", &table)
	if out := os.Getenv("LLORCH_BENCH_OUT"); out != "" {
		if err := os.WriteFile(out, table.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

// content is a large model's bytes, made quickly.
func content(size int) []byte {
	out := make([]byte, size)
	r := rand.New(rand.NewPCG(7, 7))
	block := make([]byte, 1<<20)
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], r.Uint64())
	}
	for i := 0; i < size; i += copy(out[i:], block) {
		block[0]++
	}
	copy(out, "GGUF\x03\x00\x00\x00")
	return out
}

// childPeak names the file in which a child leaves how much memory it took at most.
const childPeak = "LLORCH_TEST_PEAK"

// writePeak leaves the most memory that this process had resident, in bytes. The
// kernel's own account to the parent begins with the parent's memory, which the
// child shares until it is another program.
func writePeak(path string) error {
	status, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, os.ErrNotExist) {
		// No Linux: the table says 0.
		return os.WriteFile(path, []byte("0"), 0o600)
	}
	if err != nil {
		return err
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(after, "\n")
	kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
	if err != nil {
		return fmt.Errorf("memory of the process: %w", err)
	}
	return os.WriteFile(path, strconv.AppendInt(nil, kib<<10, 10), 0o600)
}

// timed runs a process of its own.
func timed(b *testing.B, cmd *exec.Cmd) time.Duration {
	b.Helper()
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return took
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// fetchOnce is our child with an empty store.
func fetchOnce(b *testing.B, endpoint, ref, dir string) *exec.Cmd {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), self)
	cmd.Env = append(os.Environ(), childRef+"="+ref, "HF_ENDPOINT="+endpoint, "LLORCH_MODEL_DIR="+dir, "HF_TOKEN=")
	return cmd
}

// against times curl with a URL and us with a ref, in turn.
func against(b *testing.B, url, ref, endpoint string, rounds int) (ours, theirs time.Duration, memory int64) {
	b.Helper()
	var us, them []time.Duration
	for range rounds {
		dir := b.TempDir()
		file := filepath.Join(dir, "curl.gguf")
		them = append(them, timed(b, exec.CommandContext(b.Context(), "curl", "-sS", "-o", file, url)))
		_ = os.Remove(file)
		peak := filepath.Join(dir, "peak")
		cmd := fetchOnce(b, endpoint, ref, filepath.Join(dir, "store"))
		cmd.Env = append(cmd.Env, childPeak+"="+peak)
		us = append(us, timed(b, cmd))
		text, err := os.ReadFile(peak)
		if err != nil {
			b.Fatal(err)
		}
		most, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		memory = max(memory, most)
		_ = os.RemoveAll(dir)
	}
	return median(us), median(them), memory
}

func loopback(b *testing.B, tw *tabwriter.Writer) {
	b.Helper()
	h := hub.New(b)
	body := content(2 << 30)
	url := h.Serve("m.gguf", `"v1"`, body)
	ours, theirs, memory := against(b, url, url+"#sha256="+sum(body), h.Endpoint(), 5)
	fmt.Fprintf(tw, "loopback, 2 GiB, hash verified\t%.2f s\t%.2f s\t%.2f\tat most 1.15\t%d MiB (at most 64)\n", ours.Seconds(), theirs.Seconds(), ours.Seconds()/theirs.Seconds(), memory>>20)
}

// secondMachine takes a model from a mirror of the first one's store.
func secondMachine(b *testing.B, tw *tabwriter.Writer) {
	b.Helper()
	const repo, file = "org/tiny", "m.gguf"
	h := hub.New(b)
	h.Add(repo, file, content(2<<30))
	first := Fetcher{Environment: Environment{Endpoint: h.Endpoint()}, Store: openStore(filepath.Join(b.TempDir(), "models"))}
	r, err := Parse("hf:" + repo + "/" + file)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := first.Fetch(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	site := httptest.NewServer((&mirror.Mirror{Store: first.Store}).Handler())
	b.Cleanup(site.Close)
	ours, theirs, memory := against(b, site.URL+"/"+repo+"/resolve/main/"+file, r.Raw, site.URL, 5)
	fmt.Fprintf(tw, "second machine from model serve, loopback, 2 GiB, hash verified\t%.2f s\t%.2f s\t%.2f\tat most 1.15\t%d MiB (at most 64)\n", ours.Seconds(), theirs.Seconds(), ours.Seconds()/theirs.Seconds(), memory>>20)
}

func farAway(b *testing.B, tw *tabwriter.Writer) {
	b.Helper()
	h := hub.New(b)
	body := content(512 << 20)
	url := h.Serve("m.gguf", `"v1"`, body)
	h.Break(hub.CDN, "", hub.Always, hub.Slow(20e6, 50*time.Millisecond))
	ours, theirs, memory := against(b, url, url+"#sha256="+sum(body), h.Endpoint(), 1)
	fmt.Fprintf(tw, "20 MB/s a connection, 50 ms away, 512 MiB\t%.2f s\t%.2f s\t%.1f times as fast\tat least 6\t%d MiB\n", ours.Seconds(), theirs.Seconds(), theirs.Seconds()/ours.Seconds(), memory>>20)
}

func presentAndResumed(b *testing.B, tw *tabwriter.Writer) {
	b.Helper()
	h := hub.New(b)
	body := content(512 << 20)
	h.Add("org/tiny", "m.gguf", body)
	pinned := "hf:org/tiny@" + h.Commit("org/tiny") + "/m.gguf"
	h.Break(hub.CDN, "", hub.Always, hub.Slow(20e6, 50*time.Millisecond))
	dir := b.TempDir()
	full := timed(b, fetchOnce(b, h.Endpoint(), pinned, dir))
	asked := len(h.Requests())
	var present []time.Duration
	for range 3 {
		present = append(present, timed(b, fetchOnce(b, h.Endpoint(), pinned, dir)))
	}
	fmt.Fprintf(tw, "present, pinned: %d requests\t%d ms\t\t\tunder 50 ms\t\n", len(h.Requests())-asked, median(present).Milliseconds())

	broken := b.TempDir()
	cmd := fetchOnce(b, h.Endpoint(), pinned, broken)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for at := openStore(broken).Folder(Ref{Kind: ref.Hub, Repo: "org/tiny"}).Incomplete(sum(body)); transfer.Received(at) < int64(len(body))*9/10; {
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			b.Fatal("it never got nine tenths")
		}
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	rest := timed(b, fetchOnce(b, h.Endpoint(), pinned, broken))
	fmt.Fprintf(tw, "killed at 90 %%, gone on with\t%.2f s\t%.2f s (all of it, ours)\t%.2f\tunder 0.20\t\n", rest.Seconds(), full.Seconds(), rest.Seconds()/full.Seconds())
}
