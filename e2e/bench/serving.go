package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/fixtures/gguf"
	"golang.org/x/sync/errgroup"
)

// servingRounds is how often each side does each job, alternating. The result is the median
// of the rounds' ratios, because a machine that slows down affects both sides of a round.
const servingRounds = 18

// job is work of a server other than matrix products.
type job struct {
	name string
	run  func(ctx context.Context, url string) error
}

// jobs are requests of typical clients, each long enough to be timed.
func jobs() []job {
	post := func(ctx context.Context, url string, body any) error {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		return ask(ctx, http.MethodPost, url, data, nil)
	}
	times := func(n int, path string, body func(int) any) func(context.Context, string) error {
		return func(ctx context.Context, url string) error {
			for i := range n {
				if err := post(ctx, url+path, body(i)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	text := strings.Repeat("Once upon a time, there was a little girl named Lily. She had 3 dogs; it's naïve, isn't it?\n", 11000)[:1_000_000]
	var messages []map[string]string
	for i := range 400 {
		role := "user"
		if i%2 == 1 {
			role = "assistant"
		}
		messages = append(messages, map[string]string{"role": role, "content": strings.Repeat(fmt.Sprintf("hello there, number %d ", i), 8)})
	}
	schema := json.RawMessage(`{"type":"object","properties":{"name":{"type":"string","maxLength":40},"age":{"type":"integer"},
		"tags":{"type":"array","items":{"type":"string","maxLength":10},"maxItems":6}},"required":["name","age","tags"]}`)
	const grammar = `root ::= ("a " word " and ")+` + "\n" + `word ::= [a-z]{3,9}`
	completion := func(n int, more map[string]any) func(int) any {
		return func(i int) any {
			body := map[string]any{"prompt": "Once upon a time", "n_predict": n, "temperature": 0, "seed": i, "cache_prompt": false}
			for k, v := range more {
				body[k] = v
			}
			return body
		}
	}
	return []job{
		{"a megabyte of text to tokens", times(1, "/tokenize", func(int) any { return map[string]any{"content": text} })},
		{"a chat template, 400 messages", times(5, "/apply-template", func(int) any { return map[string]any{"messages": messages} })},
		{"sampling by a JSON schema", times(10, "/completion", completion(128, map[string]any{"json_schema": schema}))},
		{"sampling by a grammar", times(10, "/completion", completion(128, map[string]any{"grammar": grammar}))},
		{"eight slots at once", func(ctx context.Context, url string) error {
			g, ctx := errgroup.WithContext(ctx)
			for i := range 8 {
				g.Go(func() error { return post(ctx, url+"/completion", completion(100, nil)(i)) })
			}
			return g.Wait()
		}},
		{"a prompt's cache saved and restored", func(ctx context.Context, url string) error {
			for range 20 {
				for _, action := range []string{"save", "restore"} {
					if err := post(ctx, url+"/slots/0?action="+action, map[string]string{"filename": "slot"}); err != nil {
						return err
					}
				}
			}
			return nil
		}},
	}
}

// serving compares the server's work other than matrix products, ours with llama.cpp's own
// build, with a model so small that it dominates.
func serving(ctx context.Context, b *bench) error {
	api, err := b.engine(ctx)
	if err != nil {
		return err
	}
	defer api.Close()
	model := filepath.Join(b.dir, "tiny.gguf")
	f, err := os.Create(model)
	if err != nil {
		return err
	}
	if err := errors.Join(gguf.WriteTinyLlama(f), f.Close(), os.Chmod(b.dir, 0o755)); err != nil {
		return err
	}
	took := map[string]map[string][]float64{oursTag: {}, officialTag: {}}
	all := jobs()
	args := []string{"--threads", "1", "--threads-batch", "1", "--ctx-size", "4096", "--parallel", "8", "--jinja", "--chat-template", "chatml", "--slot-save-path", "/tmp"}
	err = inTurns(servingRounds, func(tag string) error {
		return serve(ctx, api, tag, model, args, func(url string) error {
			for _, j := range all {
				// Warm up: the first run is not comparable.
				if err := j.run(ctx, url); err != nil {
					return fmt.Errorf("%s: %w", j.name, err)
				}
				began := time.Now()
				if err := j.run(ctx, url); err != nil {
					return fmt.Errorf("%s: %w", j.name, err)
				}
				took[tag][j.name] = append(took[tag][j.name], time.Since(began).Seconds())
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, j := range all {
		ours, official := took[oursTag][j.name], took[officialTag][j.name]
		var ratios []float64
		for i := range ours {
			ratios = append(ratios, official[i]/ours[i])
		}
		b.table.job(j.name, median(ours), median(official), median(ratios))
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
