package images

import "regexp"

// UIPart is the name of the folder into which the web UI's sources are sorted.
const UIPart = "ui"

// PlanUI says how the server's web UI is built: from the tree's own lock file, in its own
// step.
type PlanUI struct {
	// Packages are the distribution packages that building it requires.
	Packages []Package `json:"packages"`
	// Files are the step's files of the tree.
	Files []string `json:"files"`
	// Dist is where the server's CMake files look for the result.
	Dist string `json:"dist"`
}

// UILockFile pins the web UI's packages in a tree.
const UILockFile = uiLock

// uiLock and uiCMake are the files that building a web UI apart requires: its package lock,
// and a CMake script that accepts a UI that was built before.
const (
	uiLock  = "tools/ui/package-lock.json"
	uiCMake = "scripts/ui-assets.cmake"
)

// uiAsset matches the prebuilt web UI among the server's sources, in trees up to spring
// 2026. Their server always compiles it in.
var uiAsset = regexp.MustCompile(`(?m)^\s*(?:set\s*\(\s*PUBLIC_ASSETS\s+)?index\.html\.gz\b`)

var takesDist = regexp.MustCompile(`\bSRC_DIST_DIR\b`)

// hasUI reports whether a tree's web UI can be built apart from its server.
func hasUI(files map[string][]byte) bool {
	_, locked := files[uiLock]
	return locked && takesDist.Match(files[uiCMake])
}

// planUI decides how the web UI is built, or says why there is none.
func planUI(r Request, v Variant, t *Tree) (*PlanUI, string) {
	switch {
	case t != nil && t.UIInside:
		return nil, ""
	case r.NoUI:
		return nil, "`no-ui`"
	case t == nil:
		return nil, ""
	case !t.UI:
		return nil, "the source has no web UI that can be built apart from its server"
	}
	ui := &PlanUI{Files: []string{"tools/ui", "!tools/ui/tests", "!tools/ui/README.md"}, Dist: "tools/ui/dist"}
	for _, name := range v.UIPackages {
		ui.Packages = append(ui.Packages, Package{Name: name})
	}
	return ui, ""
}
