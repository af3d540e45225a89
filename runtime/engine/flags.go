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

// ServerOptions are llorch-bk's settings that affect the server's flags.
type ServerOptions struct {
	// CPU is true for a run without a GPU: no layer is offloaded.
	CPU bool
	// Ctx is the context size in tokens; 0 leaves it to the server.
	Ctx int
}

// dashes is the prefix of the server's long flags. Flags of llorch-bk are never named here:
// errors name settings instead.
const dashes = "--"

// The flags that this package sets or reads, in the spelling of a handoff.
const (
	flagGPULayers = dashes + "n-gpu-layers"
	flagCtxSize   = dashes + "ctx-size"
	flagParallel  = dashes + "parallel"
	flagBatch     = dashes + "cont-batching"
	flagNoBatch   = dashes + "no-cont-batching"
	flagMetrics   = dashes + "metrics"
	flagNoMetrics = dashes + "no-metrics"
	flagMLock     = dashes + "mlock"
	flagSpecType  = dashes + "spec-type"
)

// ServerAddress returns the server's flags for its address and port.
func ServerAddress(host string, port int) []string {
	return []string{dashes + "host", host, dashes + "port", strconv.Itoa(port)}
}

// ServerModel returns the server's flags for the model at a path.
func ServerModel(path string) []string { return []string{dashes + "model", path} }

// Locks reports whether flags make the server lock its model into memory. That needs a
// limit that engines do not raise by themselves.
func Locks(flags []string) bool { return slices.Contains(flags, flagMLock) }

// canonical returns one spelling for each flag that this package reads. The synonyms are
// from llama.cpp's common/arg.cpp, which also accepts '_' for '-' in long flags.
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

// longName is the name of a long flag without dashes, with '-' for '_'.
func longName(flag string) (name string, long bool) {
	name, long = strings.CutPrefix(flag, dashes)
	return strings.ReplaceAll(name, "_", "-"), long
}

// The server's flags that would contradict llorch-bk's settings.
var (
	modelFlags = []string{"-m", "-mu", "-hf", "-hfr", "-hff", "-dr", "model", "model-url", "hf-repo", "hf-file", "docker-repo"}
	// The next three let the server download something, which has no place to put it.
	projectorFlags = []string{"-mmu", "mmproj-url"}
	draftFlags     = []string{"-hfd", "-hfrd", "hf-repo-draft", "spec-draft-hf"}
	vocoderFlags   = []string{"-hfv", "-hfrv", "hf-repo-v", "-hffv", "hf-file-v"}
	secretFlags    = []string{"api-key"}
	tokenFlags     = []string{"-hft", "hf-token"}
)

// readyMade matches the server's flags that stand for a whole model of the Hub, such as
// gpt-oss-20b-default.
var readyMade = regexp.MustCompile(`^(embd|fim|gpt-oss|tts|vision)-.+-(default|spec)$`)

// instead returns advice for a flag that contradicts a setting; empty for any other flag.
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
	case is(projectorFlags...):
		return "use llorch-bk's own `mmproj` instead"
	case is(draftFlags...):
		return "use llorch-bk's own `draft` instead"
	case is(vocoderFlags...):
		return "get the file with `llorch-bk model pull`, and give its path to the flag that takes one"
	case is("host"):
		return "use llorch-bk's own `listen` instead"
	case is("port"):
		return "use llorch-bk's own `port` instead"
	case is(secretFlags...):
		return "write the key to a file, and name that with " + dashes + "api-key-file: every user who can list processes can read arguments"
	case is(tokenFlags...):
		return "set HF_TOKEN instead: every user who can list processes can read arguments"
	}
	return ""
}

// textFlags are other flags in common use whose value is free text.
var textFlags = []string{
	"-a", dashes + "alias", dashes + "chat-template", dashes + "chat-template-kwargs", dashes + "grammar", "-p", dashes + "prompt",
	"-r", dashes + "reverse-prompt", "-sys", dashes + "system-prompt",
}

// takesText reports whether the word after flag is its value, even if it looks like a flag.
func takesText(flag string) bool {
	switch flag {
	case flagGPULayers, flagCtxSize, flagParallel:
		return true
	}
	return slices.Contains(textFlags, flag)
}

// ServerFlags turns the user's words after "--" into the flags for the server and the
// handoff. It unifies synonyms, splits "--flag=value" into two words, as llama.cpp expects,
// and adds defaults for what the user did not set. Unknown flags pass unchanged. Flags for
// the model, the address and keys are refused.
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
			// Otherwise it would take the first default as its value.
			errs = append(errs, noValue(flag))
		case takesText(flag):
			i++
			words = append(words, user[i])
		}
		seen[flag] = words[len(words)-1]
		switch {
		case flag == flagNoMetrics:
			// Only llorch-bk knows this flag: the server's metrics are off by default.
		case flag == flagGPULayers && o.CPU:
		default:
			out = append(out, words...)
		}
	}
	if given, ok := seen[flagCtxSize]; ok && o.Ctx > 0 && given != strconv.Itoa(o.Ctx) {
		errs = append(errs, fault.New(fault.Usage, "the context size is set twice",
			fmt.Errorf("`ctx` is %d, and the server's flags have %s %s", o.Ctx, flagCtxSize, given), "remove one of them"))
	}
	if len(errs) > 0 {
		return nil, join(errs)
	}
	return withDefaults(out, seen, o), nil
}

// withDefaults adds defaults for what the user did not set, always in the same order.
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

// splitFlag splits "--flag=value". It splits short flags only if this package knows them:
// any other word with '=' may be a value.
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
	return fault.New(fault.Usage, flag+" needs a value", nil, "add a value, or remove the flag")
}

// join makes one fault of several.
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
	return fault.New(fault.Usage, "some of the server's flags are invalid", errors.New(strings.Join(what, "; ")), strings.Join(do, "; "))
}
