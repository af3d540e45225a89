# llorch-bk. `make` alone lists the targets.

GO      ?= go
BIN     := bin/llorch-bk
VERSION ?=
LDFLAGS := -s -w $(if $(VERSION),-X main.version=$(VERSION))

# The real tier's settings.
LLAMA_REF             ?=
MODEL_REPO            ?=
MODEL_PATTERN         ?=
LLORCH_E2E_MODEL_PATH ?=
export LLAMA_REF MODEL_REPO MODEL_PATTERN LLORCH_E2E_MODEL_PATH

GOFUMPT      := mvdan.cc/gofumpt@v0.12.0
GOLANGCILINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
ACTIONLINT   := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# $(call tier,NAME,GO TEST ARGUMENTS[,WRAPPER COMMAND]) runs a tier whose variable is set.
# In CI a skipped test is a failure, because CI must cover everything.
define tier
	@mkdir -p bin; echo "go test $(2)"; $(3) $(GO) test -v -count=1 $(2) 2>&1 | tee bin/$(1).log | grep -vE '^(=== |    --- PASS|[0-9/]+ [0-9:]+ http2)'
	@if [ "$${CI:-}" = true ] && grep -E '^ *--- SKIP' bin/$(1).log; then echo "$(1): skipped in CI, see above"; exit 1; fi
endef

.DEFAULT_GOAL := help
.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Set up the machine, build llama.cpp, run it with a small model, ask one question
	$(GO) run ./e2e/demo

.PHONY: test
test: setup unit integration e2e-fixture ## Set up the machine, run the unit tests and the hermetic end-to-end tier

.PHONY: unit
unit: ## Run the unit tests with the race detector; needs no engine
	$(GO) vet ./...
	$(GO) test -race ./cmd/... ./images/... ./llb/... ./runtime/... ./fixtures/...

.PHONY: integration
integration: export LLORCH_TEST_DOCKER := 1
integration: ## Test single packages against the real engine
	$(call tier,$@,-run '^TestDocker' ./llb/buildkit ./runtime/engine/docker)

.PHONY: e2e-fixture
e2e-fixture: export LLORCH_E2E_FIXTURE := 1
e2e-fixture: build ## Run the hermetic tier: a tiny engine through the same graph and runtime
	$(call tier,$@,-timeout 50m -run '^TestFixture' ./e2e/)

.PHONY: e2e-real-docker
e2e-real-docker: export LLORCH_E2E_REAL := 1
e2e-real-docker: build ## Run the real tier: llama.cpp compiled by BuildKit, a real model, a completion
	$(call tier,$@,-timeout 60m -run '^TestReal' ./e2e/)

.PHONY: e2e-releases
e2e-releases: export LLORCH_E2E_RELEASES := 1
e2e-releases: build ## Build five llama.cpp releases since 2025 from npm's bundles in parts, ask each the same question; half an hour
	$(call tier,$@,-timeout 60m -run '^TestReleases' ./e2e/)

.PHONY: e2e-wrongs
e2e-wrongs: export LLORCH_E2E_WRONGS := 1
e2e-wrongs: build ## Kill compilers, fill the disk and exhaust memory in real compiles; root, 15 minutes
	$(call tier,$@,-timeout 60m -run '^TestWrongs' ./e2e/)

.PHONY: e2e-cuda
e2e-cuda: export LLORCH_E2E_CUDA := 1
e2e-cuda: build ## Run the CUDA tier: the graph for NVIDIA's images, on a substitute made from Debian's toolkit; root, gigabytes
	$(call tier,$@,-timeout 60m -run '^TestCUDA' ./e2e/)

TESTS ?= ^Test(Fixture|Real|Modern)
.PHONY: e2e-modern
e2e-modern: export LLORCH_E2E_FIXTURE := 1
e2e-modern: export LLORCH_E2E_REAL := 1
e2e-modern: export LLORCH_E2E_MODERN := 1
e2e-modern: build ## Run both tiers on a current Docker engine, compiled and started beside this machine's; root
	$(call tier,$@,-timeout 60m -run '$(TESTS)' ./e2e/,$(GO) run ./e2e/modern)

.PHONY: ci-runner
ci-runner: export LLORCH_E2E_FIXTURE := 1
ci-runner: ## Run the GitHub action's steps on a fresh runner, twice, and for a fork; LLORCH_CI_SOURCE=llama builds llama.cpp
	$(call tier,$@,-timeout 60m -run '^TestFixtureRunner$$' ./e2e/)
	@grep -E '^ +runner_test.go.* run: ' bin/$@.log

.PHONY: docker-build
docker-build: build ## Build the CPU image of the pinned release (LLAMA_REF for another)
	$(BIN) build $(if $(LLAMA_REF),--ref $(LLAMA_REF))

.PHONY: setup
setup: build ## Install and start what building and running need, after asking
	$(BIN) setup

.PHONY: setup-buildx
setup-buildx: setup ## Same as setup: the engine includes BuildKit, so buildx is not needed

.PHONY: build
build: ## Compile bin/llorch-bk
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/llorch-bk

.PHONY: install
install: ## Install llorch-bk into Go's bin folder
	$(GO) install -trimpath -ldflags '$(LDFLAGS)' ./cmd/llorch-bk

.PHONY: buildkitd
buildkitd: ## Compile bin/buildkitd from the module that go.mod pins
	$(GO) build -trimpath -o bin/buildkitd github.com/moby/buildkit/cmd/buildkitd

.PHONY: release
release: ## Write static binaries for every platform to dist/
	@set -e; for p in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do \
	  out=dist/llorch-bk-$${p%/*}-$${p#*/}; echo $$out; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $$out ./cmd/llorch-bk; \
	done; cd dist && sha256sum llorch-bk-* > SHA256SUMS

.PHONY: bench
bench: ## Run the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: bench-build
bench-build: setup ## Compare builds with llama.cpp's own steps: a table of times and ratios; 90 minutes, root
	$(GO) run ./e2e/bench -o bin/bench-build.md

FUZZTIME ?= 2m
.PHONY: soak
soak: ## Kill 200 downloads at random moments, race runs in every order, fuzz parsers of outside input for FUZZTIME each
	LLORCH_RACES=all $(GO) test -count=1 -v -timeout 30m -run '^TestRace$$' ./cmd/internal/app
	LLORCH_KILLS=200 $(GO) test -count=1 -v -timeout 30m -run '^Test(Killed|SixteenProcesses)$$' ./runtime/model
	set -e; for f in ref:Parse gguf:Pick gguf:Describe gguf:Need gguf:Check transfer:ContentRange hub:NextPage; do \
	  $(GO) test -run '^$$' -fuzz "^Fuzz$${f#*:}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "./runtime/model/$${f%:*}"; \
	done

.PHONY: bench-model
bench-model: ## Compare model downloads with curl: a table of times, ratios and memory; a few minutes
	@mkdir -p bin
	LLORCH_BENCH_OUT=$(CURDIR)/bin/bench-model.md $(GO) test -run '^$$' -bench '^BenchmarkModel$$' -benchtime 1x -timeout 20m ./runtime/model

.PHONY: golden
golden: ## Update the golden files; review the difference before you commit it
	$(GO) test ./images ./llb ./runtime/pool ./cmd/ci -update

.PHONY: fmt
fmt: ## Format the Go code
	$(GO) run $(GOFUMPT) -w $$(git ls-files '*.go')

.PHONY: lint
lint: ## Run gofumpt, golangci-lint, actionlint, and shellcheck if it is installed
	@bad=$$($(GO) run $(GOFUMPT) -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "run make fmt:"; echo "$$bad"; exit 1; }
	$(GO) run $(GOLANGCILINT) run ./...
	$(GO) run $(ACTIONLINT) .github/workflows/*.yml e2e/ci/github-matrix.yml
	if command -v shellcheck >/dev/null; then shellcheck cmd/ci/*.sh; fi

.PHONY: clean
clean: ## Remove bin and dist
	rm -rf bin dist
