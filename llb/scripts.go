package llb

import (
	_ "embed"
	"strings"

	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
)

//go:embed scripts/apt.sh
var aptScript string

//go:embed scripts/packages.sh
var packagesScript string

//go:embed scripts/select.sh
var selectScript string

//go:embed scripts/compile.sh
var compileScript string

//go:embed scripts/launch.sh
var launchScript string

//go:embed scripts/objects.sh
var objectsScript string

//go:embed scripts/ask.pl
var askScript string

//go:embed scripts/signal.sh
var signalScript string

//go:embed scripts/lend.sh
var lendScript string

//go:embed scripts/project.cmake
var projectScript string

//go:embed scripts/libraries.sh
var librariesScript string

//go:embed scripts/check.sh
var checkScript string

//go:embed scripts/runtime.sh
var runtimeScript string

//go:embed scripts/resolve.sh
var resolveScript string

//go:embed scripts/fetch.sh
var fetchScript string

//go:embed scripts/place.sh
var placeScript string

//go:embed scripts/static.sh
var staticScript string

//go:embed scripts/starts.c
var startsSource string

//go:embed scripts/npm-ci.sh
var npmCIScript string

//go:embed scripts/ui.sh
var uiScript string

//go:embed scripts/npm.sh
var npmScript string

//go:embed scripts/probe.c
var probeSource string

// script is one of our files in a step.
type script struct{ name, text string }

// scripts mounts scripts into a step. Their text is part of the step's key.
func (b builder) scripts(all ...script) bkllb.RunOption {
	var files *bkllb.FileAction
	for _, s := range all {
		if files == nil {
			files = bkllb.Mkfile("/"+s.name, 0o755, []byte(s.text))
			continue
		}
		files = files.Mkfile("/"+s.name, 0o755, []byte(s.text))
	}
	st := bkllb.Scratch().Platform(b.steps).File(files, bkllb.WithCustomName("[script] "+all[0].name))
	return bkllb.AddMount("/llorch", st, bkllb.Readonly)
}

// ScriptsDigest identifies the scripts that run in the steps.
func ScriptsDigest() string {
	return digest.FromString(strings.Join([]string{aptScript, packagesScript, selectScript, compileScript, launchScript, objectsScript, askScript, signalScript, lendScript, projectScript, librariesScript, runtimeScript, staticScript, placeScript, fetchScript, npmCIScript, uiScript, probeSource}, "\x00")).String()
}
