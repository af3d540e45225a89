package images

import "regexp"

// UIPart is the name of the folder that the web UI's sources are sorted into.
const UIPart = "ui"

// PlanUI is how the server's web UI is built: by the tree's own lock file, in a
// step of its own.
type PlanUI struct {
	// Packages are the distribution packages that building it takes.
	Packages []Package `json:"packages"`
	// Files are what the step gets to see of the tree.
	Files []string `json:"files"`
	// Dist is where the server's CMake files look for what the step gives.
	Dist string `json:"dist"`
}

// UILockFile pins the web UI's packages in a tree.
const UILockFile = uiLock

// uiLock and uiCMake are what a web UI that can be built apart consists of: its
// packages, and a script of CMake's that takes a UI which was built before.
const (
	uiLock  = "tools/ui/package-lock.json"
	uiCMake = "scripts/ui-assets.cmake"
)

// uiAsset is the web UI that trees up to the spring of 2026 keep ready among their
// server's sources, which compile it in whatever they are told.
var uiAsset = regexp.MustCompile(`(?m)^\s*(?:set\s*\(\s*PUBLIC_ASSETS\s+)?index\.html\.gz\b`)

var takesDist = regexp.MustCompile(`\bSRC_DIST_DIR\b`)

// hasUI says whether a tree's web UI can be built apart from its server.
func hasUI(files map[string][]byte) bool {
	_, locked := files[uiLock]
	return locked && takesDist.Match(files[uiCMake])
}

// planUI decides about the web UI, and says why there is none.
func planUI(r Request, v Variant, t *Tree) (*PlanUI, string) {
	switch {
	case t != nil && t.UIInside:
		return nil, ""
	case r.NoUI:
		return nil, "`no-ui`"
	case t == nil:
		return nil, ""
	case !t.UI:
		return nil, "the source has none that can be built apart from its server"
	}
	ui := &PlanUI{Files: []string{"tools/ui", "!tools/ui/tests", "!tools/ui/README.md"}, Dist: "tools/ui/dist"}
	for _, name := range v.UIPackages {
		ui.Packages = append(ui.Packages, Package{Name: name})
	}
	return ui, ""
}
