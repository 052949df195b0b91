# Sluice: run "make help" for what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
TOOL    := $(GO) tool -modfile=$(CURDIR)/scripts/tools/go.mod
FUZZ    ?= 30s
SOAK    ?= 5m
SCRIPTS := .ci/run $(shell find scripts -name '*.sh')

.PHONY: help
help: ## show this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/sluice, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sluice ./cmd/sluice

.PHONY: packages
packages: ## install the Debian packages that demo and tests use (root)
	@scripts/packages.sh

.PHONY: consul
consul: ## find the Consul that tests use: CONSUL_BIN, PATH, or one built into a cache (minutes, once)
	@$(GO) run ./scripts/consul/program

.PHONY: demo
demo: export KEEP := $(KEEP)
demo: packages build ## two gateways, a client and a server in namespaces: the main job, shown (root; KEEP=1 leaves it up)
	@$(GO) run ./scripts/demo -sluice bin/sluice

.PHONY: demo-down
demo-down: ## remove what "make demo KEEP=1" left (root)
	@$(GO) run ./scripts/demo -down

.PHONY: lab
lab: export KEEP := $(KEEP)
lab: packages build ## two datacenters with a real Consul each, and Sluice as their mesh gateways (root; KEEP=1 leaves it up)
	@$(GO) run ./scripts/datacenters -sluice bin/sluice

.PHONY: lab-down
lab-down: ## remove what "make lab KEEP=1" left (root)
	@$(GO) run ./scripts/datacenters -down

.PHONY: test
test: packages lint consul ## lint, and run every test, those in network namespaces too, also with the race detector (root)
	$(GO) test -count=1 -timeout 20m ./...
	SLUICE_LONG=1 $(GO) test -count=1 -timeout 10m -run '^TestLeaks$$' ./tests/sockmap
	$(MAKE) race

.PHONY: race
race: ## run the tests with the race detector (root for those in namespaces)
	CGO_ENABLED=1 $(GO) test -count=1 -race -timeout 30m ./...

.PHONY: test-kernels
test-kernels: ## run the tests that depend on the kernel on Debian's 6.1 and 6.12, emulated
	@scripts/packages.sh vm
	SLUICE_VM_TEST=1 $(GO) test -count=1 -run '^TestMachine' ./scripts/vm
	@$(GO) run ./scripts/vm/program

.PHONY: test-provision
test-provision: consul ## do what "vagrant up" would in a Debian of debootstrap, and boot that, emulated (root)
	@scripts/packages.sh vm
	vagrant validate --ignore-provider
	@$(GO) run ./scripts/vm/box

.PHONY: soak
soak: export SOAK := $(SOAK)
soak: packages ## send flows of random shapes for SOAK (default 5m), and check every byte (root)
	$(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./tests/

.PHONY: lint
lint: ## gofmt, vet, staticcheck, shellcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofmt: run gofmt -w on"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	shellcheck $(SCRIPTS)
	scripts/bpf.sh check

.PHONY: fuzz
fuzz: ## fuzz every parser for FUZZ (default 30s) each
	@scripts/fuzz.sh $(FUZZ)

.PHONY: bench-packages
bench-packages: packages
	@scripts/packages.sh bench

.PHONY: bench
bench: bench-packages build ## Sluice beside its peers and beside the limit, about 15 minutes (root; BENCH=quick: under 3)
	@$(GO) run ./tests/bench -sluice bin/sluice $(if $(filter quick,$(BENCH)),-quick)

.PHONY: bench-report
bench-report: ## put the newest full run of "make bench" into the README, as tables and charts
	@$(GO) run ./tests/bench report

.PHONY: bench-check
bench-check: bench-packages build ## tell whether a path has lost a third of its speed, by ratios; under 3 minutes (root)
	@$(GO) run ./tests/bench check -sluice bin/sluice

.PHONY: bench-expect
bench-expect: ## have bench-check expect what the newest run of "make bench BENCH=quick" found
	@$(GO) run ./tests/bench expect

.PHONY: microbench
microbench: ## run the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./userspace/...

.PHONY: generate
generate: ## write generated files anew
	$(GO) generate ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
