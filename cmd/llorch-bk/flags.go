package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/images"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/llorch/llorch-bk/llb/buildkit"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// buildFlags are the flags of every command that plans or builds an image.
type buildFlags struct {
	request images.Request
	// platforms are what is built, an index where they are several.
	platforms []string
	cuda      bool
	bases     []string
	cudaArch  []string
	builder   string
	tls       buildkit.TLS
	jobs      int
	noCache   bool

	cacheFrom, cacheTo []string
	caCert             string
	locked             string
	// given are the flags that the command line itself has.
	given         map[string]bool
	sourcePolicy  string
	sign          app.SignOptions
	kept, offline string
	// insecure are registries without TLS.
	insecure []string
}

// addLocked declares the flag of commands that keep to a lock.
func (f *buildFlags) addLocked(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.locked, "locked", "", "build exactly what a lock `file` says (default "+images.LockFile+"), without the compiler cache; fail where it cannot be had")
	cmd.Flags().Lookup("locked").NoOptDefVal = images.LockFile
	// A lock says all that these would. On the command line they contradict it; in the
	// environment or the file of settings they are for builds that have no lock.
	f.given = map[string]bool{}
	args := cmd.Args
	cmd.Args = func(cmd *cobra.Command, words []string) error {
		cmd.Flags().Visit(func(flag *pflag.Flag) { f.given[flag.Name] = true })
		return args(cmd, words)
	}
	cmd.PreRunE = func(*cobra.Command, []string) error {
		for _, name := range lockSays {
			switch {
			case !f.given[name]:
			// A source of the user's own is built with all that the bundle has beside it.
			case f.isOffline() && f.given["source"] && slices.Contains(app.PatchFlags, name):
			case f.isOffline():
				return fault.New(fault.Usage, "--offline and --"+name+" exclude each other", errors.New("the bundle's lock says all of what is built but a source of your own"), "leave one of them out, or make a bundle of another lock")
			case f.locked != "":
				return fault.New(fault.Usage, "--locked and --"+name+" exclude each other", errors.New("the lock says all of what is built"), "leave one of them out, or write another lock with llorch-bk lock --"+name)
			}
		}
		return nil
	}
}

// addKept declares the flag of commands that build from a lock.
func (f *buildFlags) addKept(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kept, "kept", "", "`place` where the packages of locks are kept, looked into before any archive: a folder, or oci://…, that lock --keep wrote")
}

// chosen are the flags of lockSays on the command line of an offline build.
func (f *buildFlags) chosen() []string {
	if !f.isOffline() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(lockSays), func(name string) bool { return !f.given[name] })
}

// lockSays are the flags for what a lock says.
var lockSays = []string{"source", "ref", "variant", "cuda", "cpu", "cuda-arch", "cmake-flag", "base", "runtime-base", "programs", "no-ui"}

// addOffline declares the flag of commands that build without a network.
func (f *buildFlags) addOffline(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.offline, "offline", "", "ask no network: build from the bundle that was loaded here, or from that of a lock `file`; with --source, that source with all the bundle has beside it")
	cmd.Flags().Lookup("offline").NoOptDefVal = "true"
}

// isOffline says whether --offline is given and on: as a setting it may be false.
func (f *buildFlags) isOffline() bool { return f.offline != "" && f.offline != "false" }

// add declares the flags. cpu is the command's default for --cpu.
func (f *buildFlags) add(cmd *cobra.Command, cpu, cudaArch string) {
	fs := cmd.Flags()
	fs.StringVar(&f.request.Source, "source", images.DefaultRepository, "git `URL`, directory or git bundle with llama.cpp's source")
	fs.StringVar(&f.request.Ref, "ref", "", "branch, tag or commit (default "+images.DefaultRef+"; the working tree for a directory)")
	fs.StringVar(&f.request.Variant, "variant", "cpu", "what to build: "+variantNames())
	fs.BoolVar(&f.cuda, "cuda", false, "short for --variant cuda")
	fs.StringVar(&f.request.CPU, "cpu", cpu, "portable (every CPU backend), native (this machine's level), or a level such as x86-64-v3")
	fs.StringSliceVar(&f.cudaArch, "cuda-arch", nil, "CUDA architectures, as 86,89; auto for this machine's GPUs, or all (default "+cudaArch+")")
	fs.StringArrayVar(&f.request.CMakeFlags, "cmake-flag", nil, "extra CMake definition `-DX=Y` (repeatable)")
	fs.StringArrayVar(&f.bases, "base", nil, "base `image` instead of the variant's own; gpu=IMAGE for what the GPU's code is compiled on (repeatable)")
	fs.StringVar(&f.request.RuntimeBase, "runtime-base", "", "`image` that the server runs on (default: one that is made of nothing but the packages that it needs)")
	fs.StringArrayVar(&f.request.Tags, "tag", nil, "`name` of the image (repeatable)")
	f.addBuilder(cmd)
	fs.StringArrayVar(&f.cacheFrom, "cache-from", nil, "layer `cache` to look in, and in a registry the objects beside it: an image's name, or type=local,src=DIR and the like (repeatable)")
	fs.StringArrayVar(&f.cacheTo, "cache-to", nil, "layer `cache` to keep every step in, and in a registry its objects (objects=false for none, objects-max=500MB): a name, or type=local,dest=DIR and the like (repeatable)")
	fs.StringSliceVar(&f.request.Programs, "programs", nil, "`list` of llama.cpp's programs in the image beside the server (llama-cli,llama-bench), or all")
	fs.BoolVar(&f.request.NoUI, "no-ui", false, "leave the server's web UI out")
	fs.StringVar(&f.sourcePolicy, "source-policy", "", "`file` with rules for the sources that a build may use (BuildKit's source policy, JSON)")
	fs.BoolVar(&f.noCache, "no-cache", false, "compile again whatever is cached")
}

// addBuilder declares the flags that say for what and on what something is built.
func (f *buildFlags) addBuilder(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&f.platforms, "platform", []string{"linux/" + runtime.GOARCH}, "platform of the image: "+strings.Join(images.Platforms, ", ")+"; several make an index, for --push or --output")
	fs.StringVar(&f.builder, "builder", buildkit.Auto, "BuildKit to use: auto (the engine's own, or else managed), managed (one that is started for you), or unix://, tcp://, docker-container://, kube-pod:// `address`")
	fs.StringVar(&f.tls.CACert, "builder-ca", "", "CA certificate `file` for a tcp:// builder")
	fs.StringVar(&f.tls.Cert, "builder-cert", "", "client certificate `file` for a tcp:// builder")
	fs.StringVar(&f.tls.Key, "builder-key", "", "client key `file` for a tcp:// builder")
	fs.IntVar(&f.jobs, "jobs", 0, "compilers at once (default: what the builder's cores and memory allow)")
	fs.StringVar(&f.caCert, "ca-cert", "", "PEM `file` of CA certificates for build steps, registries and models; never stored in the image (default: the file that SSL_CERT_FILE names)")
}

func (f *buildFlags) options(cmd *cobra.Command) app.BuildOptions {
	r := f.request
	if f.cuda {
		r.Variant = "cuda"
	}
	for _, base := range f.bases {
		if gpu, ok := strings.CutPrefix(base, "gpu="); ok {
			r.AcceleratorBase = gpu
		} else {
			r.Base = base
		}
	}
	for _, a := range f.cudaArch {
		if a = strings.TrimSpace(a); a != "" {
			r.CUDAArch = append(r.CUDAArch, a)
		}
	}
	platforms := images.SortPlatforms(f.platforms)
	if len(platforms) > 0 {
		r.Platform = platforms[0]
	}
	if len(platforms) < 2 {
		platforms = nil
	}
	offlineLock := f.offline
	if !f.isOffline() || f.offline == "true" {
		offlineLock = ""
	}
	return app.BuildOptions{
		Request: r, Platforms: platforms, CPUChosen: cmd.Flags().Changed("cpu"),
		KeptAt: f.kept, Offline: f.isOffline(), OfflineLock: offlineLock, Patched: f.isOffline() && f.given["source"], Chosen: f.chosen(),
		Locked: f.locked, Builder: f.builder, TLS: f.tls, Jobs: f.jobs, NoCache: f.noCache, CacheFrom: f.cacheFrom, CacheTo: f.cacheTo, CACert: f.caCert, Sign: f.sign, SourcePolicy: f.sourcePolicy,
	}
}

// onePlatform refuses an index where one image is meant.
func onePlatform(cmd *cobra.Command, opt app.BuildOptions) error {
	if len(opt.Platforms) < 2 {
		return nil
	}
	return fault.New(fault.Usage, cmd.Name()+" is about the image of one platform", fmt.Errorf("--platform names %d", len(opt.Platforms)), "name one of "+strings.Join(opt.Platforms, ", "))
}

func variantNames() string {
	return strings.Join(images.VariantNames(), ", ")
}

// runFlags are the flags of every command that starts a server.
type runFlags struct{ app.RunOptions }

func (f *runFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.addPool(cmd)
	fs.StringVar(&f.Model, "model", app.DefaultModel, "model: file, hf:org/repo:QUANT, hf:org/repo/file.gguf, oci://name:tag, ollama://name:tag or https:// `ref`, each file with an optional #sha256=")
	fs.IntVar(&f.Port, "port", 0, "port on this machine (default: a free one, kept for the pool's life)")
	fs.StringVar(&f.Listen, "listen", "127.0.0.1", "`address` on this machine to publish the port on")
	fs.IntVar(&f.Ctx, "ctx", 0, "context size in tokens (default: the model's)")
	fs.DurationVar(&f.Timeout, "timeout", 30*time.Minute, "how long a start that makes progress may take")
	fs.DurationVar(&f.StallTimeout, "stall-timeout", 2*time.Minute, "how long a start may make no progress")
	fs.StringVar(&f.GPUs, "gpus", "", "GPUs for the server: all, none, or a `list` of indices or ids (default: all for an image with a GPU's backend)")
	fs.BoolVar(&f.AllowCPU, "allow-cpu", false, "run on the CPU where the GPU cannot be used")
	fs.StringVar(&f.Memory, "memory", "", "memory limit, as 8g")
	fs.Float64Var(&f.CPUs, "cpus", 0, "CPU limit, as 1.5")
	fs.StringVar(&f.Restart, "restart", "no", "restart policy of the container: no, on-failure, always, unless-stopped")
}

// addPool declares the flags that say which pool is meant.
func (f *runFlags) addPool(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.Pool, "pool", "default", "`id` of the pool")
	cmd.Flags().StringVar(&f.Replica, "replica", "r0", "`id` of the replica")
	addHandoffDir(cmd, &f.HandoffDir)
}

func addHandoffDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "handoff-dir", app.DefaultHandoffDir, "`folder` of the handoff; it is what makes a pool this project's")
}
