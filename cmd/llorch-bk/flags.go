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
	// platforms are the platforms to build for; several make an index.
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
	// given are the flags on the command line, without those from the environment or a file.
	given         map[string]bool
	sourcePolicy  string
	sign          app.SignOptions
	kept, offline string
	// insecure are registries that are used without TLS.
	insecure []string
}

// addLocked declares --locked, for the commands that build from a lock.
func (f *buildFlags) addLocked(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.locked, "locked", "", "build exactly what this lock `file` records, without the compiler cache, or fail (default "+images.LockFile+")")
	cmd.Flags().Lookup("locked").NoOptDefVal = images.LockFile
	// A lock already answers these flags. On the command line they contradict it; in the
	// environment or the settings file they are for builds without a lock.
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
			// A source of the user's own is built with everything else from the bundle.
			case f.isOffline() && f.given["source"] && slices.Contains(app.PatchFlags, name):
			case f.isOffline():
				return fault.New(fault.Usage, "--offline and --"+name+" cannot be used together", errors.New("the bundle's lock already decides that; only --source with your own tree may change it"), "remove one of them, or create a bundle from another lock")
			case f.locked != "":
				return fault.New(fault.Usage, "--locked and --"+name+" cannot be used together", errors.New("the lock already decides that"), "remove one of them, or write another lock with llorch-bk lock --"+name)
			}
		}
		return nil
	}
}

// addKept declares --kept, for the commands that build from a lock.
func (f *buildFlags) addKept(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kept, "kept", "", "use the packages that lock --keep stored in this `place`, a folder or oci://…, before any mirror")
}

// chosen returns the flags of lockSays on the command line of an offline build.
func (f *buildFlags) chosen() []string {
	if !f.isOffline() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(lockSays), func(name string) bool { return !f.given[name] })
}

// lockSays are the flags whose values a lock records.
var lockSays = []string{"source", "ref", "variant", "cuda", "cpu", "cuda-arch", "cmake-flag", "base", "runtime-base", "programs", "no-ui"}

// addOffline declares --offline, for the commands that can build without a network.
func (f *buildFlags) addOffline(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.offline, "offline", "", "use no network: build from the bundle that was loaded here, or from the bundle of this lock `file`; with --source, build that source with everything else from the bundle")
	cmd.Flags().Lookup("offline").NoOptDefVal = "true"
}

// isOffline reports whether --offline is on. In the settings file it may be false.
func (f *buildFlags) isOffline() bool { return f.offline != "" && f.offline != "false" }

// add declares the flags of a build. cpu and cudaArch are the command's defaults.
func (f *buildFlags) add(cmd *cobra.Command, cpu, cudaArch string) {
	fs := cmd.Flags()
	fs.StringVar(&f.request.Source, "source", images.DefaultRepository, "build llama.cpp from this git `URL`, directory or git bundle")
	fs.StringVar(&f.request.Ref, "ref", "", "build this branch, tag or commit (default "+images.DefaultRef+"; for a directory, the working tree)")
	fs.StringVar(&f.request.Variant, "variant", "cpu", "build this variant: "+variantNames())
	fs.BoolVar(&f.cuda, "cuda", false, "short for --variant cuda")
	fs.StringVar(&f.request.CPU, "cpu", cpu, "compile for portable (every CPU backend), native (this machine's level), or a level such as x86-64-v3")
	fs.StringSliceVar(&f.cudaArch, "cuda-arch", nil, "compile for these CUDA architectures, as 86,89; auto for this machine's GPUs, or all (default "+cudaArch+")")
	fs.StringArrayVar(&f.request.CMakeFlags, "cmake-flag", nil, "pass an extra CMake definition `-DX=Y` (repeatable)")
	fs.StringArrayVar(&f.bases, "base", nil, "compile on this base `image` instead of the variant's own; gpu=IMAGE for the GPU backend (repeatable)")
	fs.StringVar(&f.request.RuntimeBase, "runtime-base", "", "run the server on this base `image` (default: an image with only the packages that the server needs)")
	fs.StringArrayVar(&f.request.Tags, "tag", nil, "`name` the image (repeatable)")
	f.addBuilder(cmd)
	fs.StringArrayVar(&f.cacheFrom, "cache-from", nil, "read this layer `cache`, and the compiler objects beside it in a registry: an image name, or type=local,src=DIR and the like (repeatable)")
	fs.StringArrayVar(&f.cacheTo, "cache-to", nil, "write every step to this layer `cache`, and compiler objects to a registry (objects=false for none, objects-max=500MB): an image name, or type=local,dest=DIR and the like (repeatable)")
	fs.StringSliceVar(&f.request.Programs, "programs", nil, "add this `list` of llama.cpp programs to the server (llama-cli,llama-bench), or all")
	fs.BoolVar(&f.request.NoUI, "no-ui", false, "leave out the server's web UI")
	fs.StringVar(&f.sourcePolicy, "source-policy", "", "restrict the sources of the build by the rules in this `file` (BuildKit's source policy, JSON)")
	fs.BoolVar(&f.noCache, "no-cache", false, "ignore cached steps")
}

// addBuilder declares the flags for the platform and the builder.
func (f *buildFlags) addBuilder(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&f.platforms, "platform", []string{"linux/" + runtime.GOARCH}, "build for this platform: "+strings.Join(images.Platforms, ", ")+"; several make an index, for --push or --output")
	fs.StringVar(&f.builder, "builder", buildkit.Auto, "build with the BuildKit at this `address`: auto (the engine's own, or managed if that cannot do the build), managed (started for you), unix://, tcp://, docker-container:// or kube-pod://")
	fs.StringVar(&f.tls.CACert, "builder-ca", "", "verify a tcp:// builder with this CA certificate `file`")
	fs.StringVar(&f.tls.Cert, "builder-cert", "", "authenticate to a tcp:// builder with this client certificate `file`")
	fs.StringVar(&f.tls.Key, "builder-key", "", "authenticate to a tcp:// builder with this client key `file`")
	fs.IntVar(&f.jobs, "jobs", 0, "run this many compilers at once (default: as many as the builder's cores and memory allow)")
	fs.StringVar(&f.caCert, "ca-cert", "", "trust the CA certificates in this PEM `file` in build steps, registries and model downloads; never stored in the image (default: the file in SSL_CERT_FILE)")
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

// onePlatform refuses several platforms for a command that takes one.
func onePlatform(cmd *cobra.Command, opt app.BuildOptions) error {
	if len(opt.Platforms) < 2 {
		return nil
	}
	return fault.New(fault.Usage, cmd.Name()+" takes one --platform", fmt.Errorf("got %d", len(opt.Platforms)), "name one of "+strings.Join(opt.Platforms, ", "))
}

func variantNames() string {
	return strings.Join(images.VariantNames(), ", ")
}

// runFlags are the flags of every command that starts a server.
type runFlags struct{ app.RunOptions }

func (f *runFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.addPool(cmd)
	fs.StringVar(&f.Model, "model", app.DefaultModel, "serve the model with this `ref`: a file, hf:org/repo:QUANT, hf:org/repo/file.gguf, oci://name:tag, ollama://name:tag or https://…; add #sha256=HEX to require a hash")
	fs.StringVar(&f.MMProj, "mmproj", "", "let the model see or hear with the projector with this `ref` (default: the projector in the model's repository)")
	addNoMMProj(cmd, &f.NoMMProj)
	fs.StringVar(&f.Draft, "draft", "", "speed up generation with the draft model with this `ref`, or the draft head of a repository")
	fs.StringArrayVar(&f.LoRAs, "lora", nil, "apply the LoRA adapter with this `ref`; add =SCALE to scale it (repeatable)")
	fs.IntVar(&f.Port, "port", 0, "publish the server on this port (default: a free port, kept for the pool's life)")
	fs.StringVar(&f.Listen, "listen", "127.0.0.1", "publish the port on this `address` of the host")
	fs.IntVar(&f.Ctx, "ctx", 0, "set the context size, in tokens (default: the model's)")
	fs.DurationVar(&f.Timeout, "timeout", 30*time.Minute, "fail a start that takes longer than this, even if it makes progress")
	fs.DurationVar(&f.StallTimeout, "stall-timeout", 2*time.Minute, "fail a start that makes no progress for this long")
	fs.StringVar(&f.GPUs, "gpus", "", "give the server these GPUs: all, none, or a `list` of indices or ids (default: all if the image has a GPU backend)")
	fs.BoolVar(&f.AllowCPU, "allow-cpu", false, "run on the CPU if the GPU cannot be used")
	fs.BoolVar(&f.Trust, "trust", false, "serve a downloaded model without first loading it alone in a container")
	fs.StringVar(&f.Memory, "memory", "", "limit the server's memory, as 8g (default: no limit)")
	fs.Float64Var(&f.CPUs, "cpus", 0, "limit the server's CPUs, as 1.5 (default: no limit)")
	fs.StringVar(&f.Restart, "restart", "no", "restart policy of the container: no, on-failure, always, unless-stopped")
}

func addNoMMProj(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "no-mmproj", false, "leave out the projector in the model's repository")
}

// addPool declares the flags that name a replica.
func (f *runFlags) addPool(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.Pool, "pool", "default", "name the pool with this `id`")
	cmd.Flags().StringVar(&f.Replica, "replica", "r0", "name the replica with this `id`")
	addHandoffDir(cmd, &f.HandoffDir)
}

func addHandoffDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "handoff-dir", app.DefaultHandoffDir, "write handoffs to this `folder`; it also identifies the project that a pool belongs to")
}
