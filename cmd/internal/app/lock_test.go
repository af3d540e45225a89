package app

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb"
)

// lockOf is a lock in which everything is of one kind: what comes from it can be told.
func lockOf(kind string, platforms ...string) images.Lock {
	l := images.Lock{
		Schema:  images.LockSchema,
		Recipe:  images.LockRecipe{Number: 1, Scripts: kind},
		Source:  images.LockSource{Repository: kind, Commit: kind},
		Request: images.LockRequest{Variant: kind},
	}
	l.Platforms = map[string]images.LockPlatform{}
	for _, name := range platforms {
		l.Platforms[name] = images.LockPlatform{
			Build: images.BaseFacts{Ref: kind}, Runtime: images.BaseFacts{Ref: kind}, Accelerator: images.BaseFacts{Ref: kind},
			Packages:  images.PackageSets{Toolchain: []images.Package{{Name: "cmake", Version: kind}}, Runtime: []images.Package{{Name: "libc6", Version: kind}}},
			Snapshots: []string{kind},
		}
	}
	return l
}

func TestCompose(t *testing.T) {
	t.Parallel()
	const amd64, arm64 = "linux/amd64", "linux/arm64"
	// platform is one whose parts are of these kinds.
	platform := func(base, packages, snapshots string) images.LockPlatform {
		p := lockOf(base, amd64).Platforms[amd64]
		p.Packages, p.Snapshots = lockOf(packages, amd64).Platforms[amd64].Packages, []string{snapshots}
		return p
	}
	with := func(l images.Lock, change func(*images.Lock)) images.Lock {
		l.Platforms = maps.Clone(l.Platforms)
		change(&l)
		return l
	}
	same := func(l *images.Lock) {
		l.Source, l.Request, l.Recipe = lockOf("old").Source, lockOf("old").Request, lockOf("old").Recipe
	}
	samePackages := func(l *images.Lock) { l.Platforms[amd64] = platform("new", "old", "new") }
	for name, c := range map[string]struct {
		part       string
		old, fresh images.Lock
		want       images.Lock
	}{
		"a first lock": {
			"",
			images.Lock{},
			lockOf("new", amd64),
			with(lockOf("new"), func(l *images.Lock) { l.Platforms[amd64] = platform("new", "new", "now") }),
		},
		"all of it": {
			"", lockOf("old", amd64), lockOf("new", amd64),
			with(lockOf("new"), func(l *images.Lock) { l.Platforms[amd64] = platform("new", "new", "now") }),
		},
		// A time that moves by itself would be a change each day.
		"all of it, with the same packages": {
			"", lockOf("old", amd64), with(lockOf("new", amd64), samePackages),
			with(lockOf("new"), func(l *images.Lock) { l.Platforms[amd64] = platform("new", "old", "old") }),
		},
		"the source": {
			LockSource, lockOf("old", amd64), lockOf("new", amd64),
			with(lockOf("new"), func(l *images.Lock) { l.Platforms[amd64] = platform("old", "old", "old") }),
		},
		"the base, and its packages with it": {
			LockBase, lockOf("old", amd64), lockOf("new", amd64),
			with(lockOf("old"), func(l *images.Lock) { l.Platforms[amd64] = platform("new", "new", "now") }),
		},
		"the packages": {
			LockPackages, lockOf("old", amd64), lockOf("new", amd64),
			with(lockOf("old"), func(l *images.Lock) { l.Platforms[amd64] = platform("old", "new", "now") }),
		},
		"the packages, which are the same": {
			LockPackages, lockOf("old", amd64), with(lockOf("new", amd64), samePackages), lockOf("old", amd64),
		},
		"another platform of the same source": {
			"", lockOf("old", amd64), with(lockOf("new", arm64), same),
			with(lockOf("new"), func(l *images.Lock) {
				same(l)
				l.Platforms[amd64], l.Platforms[arm64] = platform("old", "old", "old"), platform("new", "new", "now")
			}),
		},
		"another platform, of another request": {
			"", lockOf("old", amd64), with(lockOf("new", arm64), func(l *images.Lock) { same(l); l.Request = lockOf("new").Request }),
			with(lockOf("new"), func(l *images.Lock) {
				same(l)
				l.Request = lockOf("new").Request
				l.Platforms[arm64] = platform("new", "new", "now")
			}),
		},
		"another platform of another source": {
			"", lockOf("old", amd64), lockOf("new", arm64),
			with(lockOf("new"), func(l *images.Lock) { l.Platforms[arm64] = platform("new", "new", "now") }),
		},
		"the source, of one of two platforms": {
			LockSource, lockOf("old", amd64, arm64), lockOf("new", amd64),
			with(lockOf("new"), func(l *images.Lock) { l.Platforms[amd64] = platform("old", "old", "old") }),
		},
		"the packages, of one of two platforms": {
			LockPackages, lockOf("old", amd64, arm64), lockOf("new", amd64),
			with(lockOf("old", arm64), func(l *images.Lock) { l.Platforms[amd64] = platform("old", "new", "now") }),
		},
		"the packages, of a platform that was not there": {
			LockPackages, lockOf("old", amd64), lockOf("new", arm64),
			with(lockOf("old", amd64), func(l *images.Lock) { l.Platforms[arm64] = platform("new", "new", "now") }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := c.old
			before.Platforms = maps.Clone(c.old.Platforms)
			if diff := cmp.Diff(c.want, compose(c.part, c.old, c.fresh, []string{"now"})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, c.old); diff != "" {
				t.Errorf("the old lock is another now: %s", diff)
			}
		})
	}
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 1, 1, 2, 3, 999, time.FixedZone("", 2*60*60))
	for distribution, want := range map[string][]string{
		"debian": {"http://snapshot.debian.org/archive/debian/20260930T230203Z", "http://snapshot.debian.org/archive/debian-security/20260930T230203Z"},
		"ubuntu": {"http://snapshot.ubuntu.com/ubuntu/20260930T230203Z"},
		// Nobody is known to keep these.
		"devuan": nil,
		"":       nil,
	} {
		if diff := cmp.Diff(want, snapshots(distribution, now)); diff != "" {
			t.Errorf("%s: %s", distribution, diff)
		}
	}
}

func TestKeepTo(t *testing.T) {
	t.Parallel()
	commit, tree := strings.Repeat("1", 40), strings.Repeat("2", 40)
	when := time.Date(2026, 10, 1, 10, 0, 0, 0, time.UTC)
	packages := &images.PackageSets{Toolchain: []images.Package{{Name: "cmake"}}}
	locked := func() images.Facts {
		return images.Facts{
			Source:   images.SourceFacts{Commit: commit, TreeID: tree, Tag: "v0.5.0", Depth: 9000, Time: when, Tree: &images.Tree{UILock: "ui"}},
			Packages: packages, Snapshots: []string{"http://snapshot.example"},
		}
	}
	// A builder that fetched the commit has its files and nothing else of it.
	seen := func(change func(*images.Facts)) images.Facts {
		f := images.Facts{
			Source: images.SourceFacts{Kind: images.SourceGit, Commit: commit, Tree: &images.Tree{Version: "0.5.0", UILock: "ui"}},
			Build:  images.BaseFacts{Ref: "base"}, Scripts: "scripts",
		}
		if change != nil {
			change(&f)
		}
		return f
	}
	want := seen(func(f *images.Facts) {
		f.Source.TreeID, f.Source.Tag, f.Source.Depth, f.Source.Time = tree, "v0.5.0", 9000, when
		f.Packages, f.Snapshots = packages, []string{"http://snapshot.example"}
	})
	for name, c := range map[string]struct {
		seen   func(*images.Facts)
		locked func(*images.Facts)
		// part is what is refused; without one, want comes out as it is changed by both.
		part string
		want func(*images.Facts)
	}{
		"the commit alone": {},
		"all that git knows": {seen: func(f *images.Facts) {
			f.Source.TreeID, f.Source.Time = tree, when.In(time.FixedZone("", 3600))
		}},
		// What tells the version is the lock's: a clone may have other tags, and no history.
		"another tag and depth":         {seen: func(f *images.Facts) { f.Source.Tag, f.Source.Depth = "b1", 1 }},
		"a tree that nobody has read":   {seen: func(f *images.Facts) { f.Source.Tree = nil }, want: func(f *images.Facts) { f.Source.Tree = nil }},
		"a lock without a UI":           {locked: func(f *images.Facts) { f.Source.Tree = nil }},
		"a lock without a tree":         {locked: func(f *images.Facts) { f.Source.TreeID = "" }, want: func(f *images.Facts) { f.Source.TreeID = "" }},
		"changes":                       {seen: func(f *images.Facts) { f.Source.Dirty = true }, part: "source: "},
		"a folder of a larger tree":     {seen: func(f *images.Facts) { f.Source.Content = "sha256:1" }, part: "source: "},
		"another commit":                {seen: func(f *images.Facts) { f.Source.Commit = tree }, part: "source.commit: "},
		"a commit that is not known":    {seen: func(f *images.Facts) { f.Source.Commit = "" }, part: "source.commit: "},
		"other files":                   {seen: func(f *images.Facts) { f.Source.TreeID = commit }, part: "source.tree: "},
		"another time":                  {seen: func(f *images.Facts) { f.Source.Time = when.Add(time.Second) }, part: "source.time: "},
		"a builder of another platform": {seen: func(f *images.Facts) { f.Builder = "linux/arm64" }, locked: func(f *images.Facts) { f.Builder = "linux/amd64" }, part: "builder: "},
		"other packages of the UI":      {seen: func(f *images.Facts) { f.Source.Tree.UILock = "other" }, part: "source.ui_lock: "},
		"a UI that the source has lost": {seen: func(f *images.Facts) { f.Source.Tree.UILock = "" }, part: "source.ui_lock: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, l := seen(c.seen), locked()
			if c.locked != nil {
				c.locked(&l)
			}
			before := got
			err := keepTo(&got, l)
			if c.part != "" {
				var f *fault.Fault
				if fault.ClassOf(err) != fault.Usage || !errors.As(err, &f) || !strings.Contains(err.Error(), "cannot build from the lock: "+c.part) || f.Do == "" {
					t.Errorf("%v: want a usage fault that names %q", err, c.part)
				}
				// A refusal leaves nothing half done.
				if diff := cmp.Diff(before, got); diff != "" {
					t.Error(diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := want
			if c.want != nil {
				c.want(&want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What moves is asked for by the lock itself, but for what the user names.
func TestLockRequest(t *testing.T) {
	t.Parallel()
	old := lockOf("old", "linux/amd64")
	old.Recipe = images.Recipe(llb.ScriptsDigest())
	old.Source = images.LockSource{Repository: "https://old.example.com/x", Ref: "main", Commit: "c0ffee"}
	flags := images.Request{Source: "https://new.example.com/x", Platform: "linux/amd64", Variant: "cuda"}
	for name, c := range map[string]struct {
		opt                 LockOptions
		ref                 string
		source, at, variant string
	}{
		"all of it":                {LockOptions{}, "v1", "https://new.example.com/x", "v1", "cuda"},
		"whether anything moved":   {LockOptions{Check: true}, "", "https://old.example.com/x", "main", "old"},
		"the packages":             {LockOptions{Update: LockPackages}, "v1", "https://old.example.com/x", "c0ffee", "old"},
		"the source, by its ref":   {LockOptions{Update: LockSource}, "", "https://old.example.com/x", "main", "old"},
		"the source, by another":   {LockOptions{Update: LockSource}, "v1", "https://old.example.com/x", "v1", "old"},
		"the source, to elsewhere": {LockOptions{Update: LockSource, SourceChosen: true}, "", "https://new.example.com/x", "", "old"},
	} {
		c.opt.Request = flags
		c.opt.Request.Ref = c.ref
		b, err := c.opt.request(old)
		if err != nil {
			t.Fatal(err)
		}
		if r := b.Request; r.Source != c.source || r.Ref != c.at || r.Variant != c.variant {
			t.Errorf("%s: %s at %q, %s", name, r.Source, r.Ref, r.Variant)
		}
	}
	other := old
	other.Recipe.Number++
	if _, err := (LockOptions{Update: LockPackages, BuildOptions: BuildOptions{Request: flags}}).request(other); fault.ClassOf(err) != fault.Usage {
		t.Errorf("a part of another program's lock: %v", err)
	}
}
