package engine

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/llorch-bk/images/fault"
)

// ServerOptions is what our own settings say about the server's flags.
type ServerOptions struct {
	// CPU is a run without a GPU: no layer is offloaded, whatever was asked for.
	CPU bool
	// Ctx is the context size in tokens, 0 to leave it to the server.
	Ctx int
}

// dashes begin the server's long flags. Ours are never named here: they are the
// command line's matter, and settings have other sources too.
const dashes = "--"

// The flags that we give or look at, in the spelling that a handoff shows.
const (
	flagGPULayers = dashes + "n-gpu-layers"
	flagCtxSize   = dashes + "ctx-size"
	flagParallel  = dashes + "parallel"
	flagBatch     = dashes + "cont-batching"
	flagNoBatch   = dashes + "no-cont-batching"
	flagMetrics   = dashes + "metrics"
	flagNoMetrics = dashes + "no-metrics"
	flagMLock     = dashes + "mlock"
)

// ServerAddress are the server's flags for what it listens on.
func ServerAddress(host string, port int) []string {
	return []string{dashes + "host", host, dashes + "port", strconv.Itoa(port)}
}

// ServerModel are the server's flags for the model at a path.
func ServerModel(path string) []string { return []string{dashes + "model", path} }

// Locks says whether flags tell the server to lock its model into memory, which
// takes a right that engines do not give by themselves.
func Locks(flags []string) bool { return slices.Contains(flags, flagMLock) }

// canonical gives the one spelling of a flag that we look at. The others are
// from llama.cpp's common/arg.cpp, which also takes '_' for '-' in long flags.
func canonical(flag string) string {
	name, long := longName(flag)
	switch {
	case long && (name == "ngl" || name == "gpu-layers" || dashes+name == flagGPULayers), flag == "-ngl":
		return flagGPULayers
	case flag == "-c":
		return flagCtxSize
	case flag == "-np":
		return flagParallel
	case flag == "-cb":
		return flagBatch
	case flag == "-nocb":
		return flagNoBatch
	case !long:
		return flag
	}
	switch name = dashes + name; name {
	case flagCtxSize, flagParallel, flagBatch, flagNoBatch, flagMetrics, flagNoMetrics:
		return name
	}
	return flag
}

// longName is the name of a long flag without its dashes, with '-' for '_'.
func longName(flag string) (name string, long bool) {
	name, long = strings.CutPrefix(flag, dashes)
	return strings.ReplaceAll(name, "_", "-"), long
}

// The server's flags that would contradict ours, by what to use in their place.
var (
	modelFlags = []string{"-m", "-mu", "-hf", "-hfr", "-hff", "-dr", "model", "model-url", "hf-repo", "hf-file", "docker-repo"}
	// fetchFlags let the server download something, which has no place to put it.
	fetchFlags  = []string{"-mmu", "mmproj-url", "-hfd", "-hfrd", "hf-repo-draft", "spec-draft-hf", "-hfv", "-hfrv", "hf-repo-v", "-hffv", "hf-file-v"}
	secretFlags = []string{"api-key"}
	tokenFlags  = []string{"-hft", "hf-token"}
)

// readyMade matches the names of the server's flags that stand for a whole model of the
// Hub, such as gpt-oss-20b-default.
var readyMade = regexp.MustCompile(`^(embd|fim|gpt-oss|tts|vision)-.+-(default|spec)$`)

// instead names, for a flag that would contradict ours, what to use in its
// place; "" for any other flag.
func instead(flag string) string {
	name, long := longName(flag)
	if !long {
		name = flag
	}
	is := func(names ...string) bool {
		return slices.Contains(names, name) && (long || strings.HasPrefix(name, "-"))
	}
	switch {
	case is(modelFlags...), long && readyMade.MatchString(name):
		return "use llorch-bk's own `model` instead"
	case is(fetchFlags...):
		return "get the file with `llorch-bk model pull`, and give its path to the flag that takes one"
	case is("host"):
		return "use llorch-bk's own `listen` instead"
	case is("port"):
		return "use llorch-bk's own `port` instead"
	case is(secretFlags...):
		return "write the key into a file, and give that with " + dashes + "api-key-file: whoever may list processes can read arguments"
	case is(tokenFlags...):
		return "give the token in HF_TOKEN: whoever may list processes can read arguments"
	}
	return ""
}

// textFlags are flags that we do not look at and whose value is free text: those
// in use.
var textFlags = []string{
	"-a", dashes + "alias", dashes + "chat-template", dashes + "chat-template-kwargs", dashes + "grammar", "-p", dashes + "prompt",
	"-r", dashes + "reverse-prompt", "-sys", dashes + "system-prompt",
}

// takesText says whether the word after flag is its value even where that word
// looks like a flag.
func takesText(flag string) bool {
	switch flag {
	case flagGPULayers, flagCtxSize, flagParallel:
		return true
	}
	return slices.Contains(textFlags, flag)
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
			errs = append(errs, noValue(flag))
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
			fmt.Errorf("`ctx` is %d, and the server is given %s %s", o.Ctx, flagCtxSize, given), "give one of them"))
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
	long := strings.HasPrefix(flag, dashes) && !strings.ContainsAny(flag, " \t\n{\"")
	if _, ok := pathFlagOf(flag); ok || long || canonical(flag) != flag || instead(flag) != "" {
		return flag, value, true
	}
	return word, "", false
}

func noValue(flag string) error {
	return fault.New(fault.Usage, flag+" has no value", nil, "give it one, or leave it out")
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
