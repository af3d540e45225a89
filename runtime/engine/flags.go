package engine

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// ServerOptions is what our own flags say about the server's.
type ServerOptions struct {
	// CPU is a run without a GPU: no layer is offloaded, whatever was asked for.
	CPU bool
	// Ctx is the context size in tokens, 0 to leave it to the server.
	Ctx int
}

// The flags that we give or look at, in the spelling that a handoff shows.
const (
	flagGPULayers = "--n-gpu-layers"
	flagCtxSize   = "--ctx-size"
	flagParallel  = "--parallel"
	flagBatch     = "--cont-batching"
	flagNoBatch   = "--no-cont-batching"
	flagMetrics   = "--metrics"
	flagNoMetrics = "--no-metrics"
)

// canonical gives the one spelling of a flag that we look at. The others are
// from llama.cpp's common/arg.cpp, which also takes '_' for '-' in long flags.
func canonical(flag string) string {
	name := flag
	if strings.HasPrefix(name, "--") {
		name = strings.ReplaceAll(name, "_", "-")
	}
	switch name {
	case "-ngl", "--ngl", "--gpu-layers", flagGPULayers:
		return flagGPULayers
	case "-c", flagCtxSize:
		return flagCtxSize
	case "-np", flagParallel:
		return flagParallel
	case "-cb", flagBatch:
		return flagBatch
	case "-nocb", flagNoBatch:
		return flagNoBatch
	case flagMetrics, flagNoMetrics:
		return name
	}
	return flag
}

// instead names, for a flag that would contradict ours, what to use in its
// place; "" for any other flag.
func instead(flag string) string {
	if strings.HasPrefix(flag, "--") {
		flag = strings.ReplaceAll(flag, "_", "-")
	}
	switch flag {
	case "-m", "--model", "-mu", "--model-url", "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file":
		return "give the model with --model, before the --"
	case "--host":
		return "give the address with --listen, before the --"
	case "--port":
		return "give the port with --port, before the --"
	case "--api-key", "--api-key-file":
		return "leave it out: whoever may list processes can read arguments, and the server is published on 127.0.0.1 only"
	case "-hft", "--hf-token":
		return "give the token in HF_TOKEN: whoever may list processes can read arguments"
	}
	return ""
}

// takesText says whether the word after flag is its value even where that word
// looks like a flag. Of the flags that we do not look at, only those count
// whose value is free text, and of those the ones in use.
func takesText(flag string) bool {
	switch flag {
	case flagGPULayers, flagCtxSize, flagParallel,
		"-a", "--alias", "--chat-template", "--chat-template-kwargs", "--grammar", "-p", "--prompt",
		"-r", "--reverse-prompt", "-sys", "--system-prompt":
		return true
	}
	return false
}

// ServerFlags turns what the user gave after "--" into the flags that the server
// gets, which are also those that the handoff shows: synonyms in one spelling,
// "--flag=value" as two words, as llama.cpp wants it, and our defaults where the
// user has no wish. Flags that we do not know pass through untouched. Model,
// address and keys are not among them; giving one is a fault.
func ServerFlags(user []string, o ServerOptions) ([]string, error) {
	var out []string
	var errs []error
	seen := map[string]string{}
	for i := 0; i < len(user); i++ {
		flag, value, joined := splitFlag(user[i])
		if do := instead(flag); do != "" {
			errs = append(errs, fault.New(fault.Usage, flag+" cannot be given to the server", nil, do))
			continue
		}
		flag = canonical(flag)
		words := []string{flag}
		switch {
		case joined:
			words = append(words, value)
		case takesText(flag) && i+1 == len(user):
			// Else it would swallow the first of the defaults.
			errs = append(errs, fault.New(fault.Usage, flag+" has no value", nil, "give it one, or leave it out"))
		case takesText(flag):
			i++
			words = append(words, user[i])
		}
		seen[flag] = words[len(words)-1]
		switch {
		case flag == flagNoMetrics:
			// A wish of ours, not of llama.cpp's: its server has metrics off.
		case flag == flagGPULayers && o.CPU:
		default:
			out = append(out, words...)
		}
	}
	if given, ok := seen[flagCtxSize]; ok && o.Ctx > 0 && given != strconv.Itoa(o.Ctx) {
		errs = append(errs, fault.New(fault.Usage, "two context sizes were given",
			fmt.Errorf("--ctx %d and %s %s", o.Ctx, flagCtxSize, given), "give one of them"))
	}
	if len(errs) > 0 {
		return nil, join(errs)
	}
	return withDefaults(out, seen, o), nil
}

// withDefaults adds to flags what the user has no wish about, always in the
// same order.
func withDefaults(flags []string, seen map[string]string, o ServerOptions) []string {
	lacks := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { _, ok := seen[n]; return ok })
	}
	if o.Ctx > 0 && lacks(flagCtxSize) {
		flags = append(flags, flagCtxSize, strconv.Itoa(o.Ctx))
	}
	if o.CPU {
		flags = append(flags, flagGPULayers, "0")
	}
	if lacks(flagParallel) {
		flags = append(flags, flagParallel, "1")
	}
	if lacks(flagBatch, flagNoBatch) {
		flags = append(flags, flagNoBatch)
	}
	if lacks(flagMetrics, flagNoMetrics) {
		flags = append(flags, flagMetrics)
	}
	return flags
}

// splitFlag takes "--flag=value" apart. Of short flags, only those that we know
// are: any other word with a '=' may be a value.
func splitFlag(word string) (flag, value string, joined bool) {
	flag, value, joined = strings.Cut(word, "=")
	if !joined {
		return word, "", false
	}
	long := strings.HasPrefix(flag, "--") && !strings.ContainsAny(flag, " \t\n{\"")
	if long || canonical(flag) != flag || instead(flag) != "" {
		return flag, value, true
	}
	return word, "", false
}

// join makes one fault of many, all of which are the user's to correct.
func join(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	var what, do []string
	for _, err := range errs {
		what = append(what, err.Error())
		var f *fault.Fault
		if errors.As(err, &f) && !slices.Contains(do, f.Do) {
			do = append(do, f.Do)
		}
	}
	return fault.New(fault.Usage, "the server's flags are not right", errors.New(strings.Join(what, "; ")), strings.Join(do, "; "))
}
