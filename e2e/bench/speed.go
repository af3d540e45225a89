package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"
	"github.com/llorch/llorch-bk/fixtures/gguf"
)

// The images that are compared, once both are in the engine.
const (
	officialTag = "bench/official:latest"
	oursTag     = "llorch-bench:ours"
)

// speed compares the images' sizes and the servers' tokens per second. The servers run
// alternately, because a machine that slows down then affects both.
func speed(ctx context.Context, b *bench) error {
	api, err := b.engine(ctx)
	if err != nil {
		return err
	}
	defer api.Close()
	if err := b.weigh(ctx, api); err != nil {
		return err
	}
	model := filepath.Join(b.dir, "weighty.gguf")
	f, err := os.Create(model)
	if err != nil {
		return err
	}
	if err := errors.Join(gguf.WriteWeighty(f), f.Close(), os.Chmod(b.dir, 0o755)); err != nil {
		return err
	}
	rates := map[string][]float64{}
	err = inTurns(speedRounds, func(tag string) error {
		prompt, generated, err := tokens(ctx, api, tag, model)
		rates[tag+" prompt"] = append(rates[tag+" prompt"], prompt)
		rates[tag+" generated"] = append(rates[tag+" generated"], generated)
		return err
	})
	if err != nil {
		return err
	}
	for _, kind := range []string{"prompt", "generated"} {
		b.table.rate(fmt.Sprintf("%s tokens per second, 227 MB model, mean of %d", kind, speedRounds), mean(rates[oursTag+" "+kind]), mean(rates[officialTag+" "+kind]))
	}
	return nil
}

// engine is the engine, with the images of both sides.
func (b *bench) engine(ctx context.Context) (*client.Client, error) {
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	if err := loadOfficial(ctx, api, filepath.Join(b.dir, "official.tar")); err != nil {
		api.Close()
		return nil, err
	}
	return api, nil
}

// inTurns asks both sides alternately; the side that begins changes each time.
func inTurns(rounds int, ask func(tag string) error) error {
	for round := range rounds {
		order := []string{officialTag, oursTag}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, tag := range order {
			if err := ask(tag); err != nil {
				return fmt.Errorf("%s: %w", tag, err)
			}
		}
	}
	return nil
}

// speedRounds is how often each side is asked, alternately. On a shared machine, answers of one
// build differ by a tenth, and its processes by a few hundredths because of their memory
// layout. The mean of so many is accurate to less than a hundredth; best and median are not.
const speedRounds = 24

func mean(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// loadOfficial loads the image that this run built with llama.cpp's own steps into the engine.
// Without one, the image of an earlier run is used.
func loadOfficial(ctx context.Context, api *client.Client, file string) error {
	archive, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := api.ImageInspect(ctx, officialTag); err != nil {
			return fmt.Errorf("run it together with the case official: %w", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer archive.Close()
	loaded, err := api.ImageLoad(ctx, archive)
	if err != nil {
		return err
	}
	defer loaded.Body.Close()
	_, err = io.Copy(io.Discard, loaded.Body)
	return err
}

// weigh compares the images' sizes in a registry.
func (b *bench) weigh(ctx context.Context, api *client.Client) error {
	ours, err := gzipped(ctx, api, oursTag)
	if err != nil {
		return err
	}
	without, err := gzipped(ctx, api, officialTag)
	if err != nil {
		return err
	}
	b.table.size("image, gzipped, llama.cpp's without ffmpeg", ours, without)
	// The same compiled part, with the other content of llama.cpp's own image.
	var parts []int64
	for _, packages := range []string{officialRuntime, officialWhole} {
		size, err := b.runtimeWeight(ctx, packages)
		if err != nil {
			return err
		}
		parts = append(parts, size)
	}
	b.table.size("image, gzipped", ours, without-parts[0]+parts[1])
	return nil
}

// gzipped is the sum of an image's layers as a registry stores them.
func gzipped(ctx context.Context, api *client.Client, tag string) (int64, error) {
	saved, err := api.ImageSave(ctx, []string{tag})
	if err != nil {
		return 0, err
	}
	defer saved.Close()
	return layersGzipped(saved)
}

// layersGzipped is the same sum for an image archive.
func layersGzipped(archive io.Reader) (int64, error) {
	sum := &counter{}
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return sum.n, nil
		}
		if err != nil {
			return 0, err
		}
		if !strings.HasSuffix(h.Name, "layer.tar") && !strings.HasPrefix(h.Name, "blobs/") {
			continue
		}
		z := gzip.NewWriter(sum)
		if _, err := io.Copy(z, r); err != nil {
			return 0, err
		}
		if err := z.Close(); err != nil {
			return 0, err
		}
	}
}

// serve starts an image's server with a model, calls a function with its URL, and removes it.
func serve(ctx context.Context, api *client.Client, tag, model string, args []string, use func(url string) error) error {
	made, err := api.ContainerCreate(ctx, &container.Config{
		Image: tag, User: "0", ExposedPorts: nat.PortSet{"8080/tcp": {}},
		// Start each side's own server, whatever the entry point.
		Cmd:        append([]string{"--model", "/model.gguf", "--host", "0.0.0.0", "--port", "8080"}, args...),
		Entrypoint: []string{"/app/llama-server"},
		// llama.cpp's own server finds its libraries only in its working folder, because CMake
		// leaves an empty entry in its rpath.
		WorkingDir: "/app",
	}, &container.HostConfig{
		Binds:        []string{model + ":/model.gguf:ro"},
		PortBindings: nat.PortMap{"8080/tcp": {{HostIP: "127.0.0.1"}}},
	}, nil, nil, "")
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_ = api.ContainerRemove(end, made.ID, container.RemoveOptions{Force: true})
	}()
	if err := api.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return err
	}
	info, err := api.ContainerInspect(ctx, made.ID)
	if err != nil {
		return err
	}
	bound := info.NetworkSettings.Ports["8080/tcp"]
	if len(bound) == 0 {
		return errors.New("the server's port is not published")
	}
	url := "http://127.0.0.1:" + bound[0].HostPort
	for deadline := time.Now().Add(time.Minute); ; {
		if err := ask(ctx, http.MethodGet, url+"/health", nil, nil); err == nil {
			return use(url)
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.New("the server did not get ready")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tokens asks an image's server once for its tokens per second, read and generated.
func tokens(ctx context.Context, api *client.Client, tag, model string) (prompt, generated float64, err error) {
	body, err := json.Marshal(map[string]any{
		"prompt": strings.Repeat("Once upon a time, one tiny model learned to speak. ", 30), "n_predict": 384, "temperature": 0, "ignore_eos": true, "cache_prompt": false,
	})
	if err != nil {
		return 0, 0, err
	}
	var answer struct {
		Timings struct {
			Prompt    float64 `json:"prompt_per_second"`
			Generated float64 `json:"predicted_per_second"`
		} `json:"timings"`
	}
	err = serve(ctx, api, tag, model, []string{"--threads", "2", "--ctx-size", "1024", "--parallel", "1"}, func(url string) error {
		return ask(ctx, http.MethodPost, url+"/completion", body, &answer)
	})
	return answer.Timings.Prompt, answer.Timings.Generated, err
}

// ask sends a request and decodes the answer, which must be 200.
func ask(ctx context.Context, method, url string, body []byte, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
