# What can be done with this source. Everything but `make deps` works without a network once the modules are there.
SHELL := /bin/sh
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
SEEDS ?= 100000
SIM ?= 60s
CORPUS ?= testdata/corpus
LDFLAGS := -s -w -X berth/cmd/berth/internal/cli.version=$(VERSION)
LINT := $(GO) tool -modfile=.tools/go.mod golangci-lint
PURE := ./cmd/... ./controller/... ./manifests/... ./reconcile/... ./e2e/layers/... ./e2e/registry/... ./e2e/load/... ./e2e/kubectlsuite/... ./e2e/kubectlcompare/... ./runtime/runtimetest/...
# Each of PURE that has tests, with all that they link.
TESTED = $(GO) list -test -f '{{.ImportPath}} {{join .Deps " "}} ' $(PURE) | sed -n 's/^\([^ ]*\)\.test /\1 /p'
# `make unit` vets everything, in more ways than `go test` does.
TEST = $(GO) test -count=1 -vet=off
export CGO_ENABLED = 0

.PHONY: help build demo test deps unit race root e2e sim bench corpus kubectl-suite kubectl-compare lint fmt verify clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

build: ## bin/berth, static
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/berth ./cmd/berth

demo: build ## three replicas of a small web page, without registry or network
	bin/berth demo

test: deps unit root e2e ## everything a change must pass; needs root

deps: ## install what the tests need
	@sh e2e/deps.sh

unit: race ## decisions, fakes, layers; no root
	$(GO) vet ./...
	$(GO) run ./e2e/layers/typecheck arm64
	GOARCH=arm64 $(GO) vet ./runtime/keeper/... ./runtime/security/...
	$(TEST) -shuffle=on $$($(TESTED) | awk '/ k8s.io\/kubernetes\// {print $$1}')
	$(TEST) -v -run 'Sim$$|Mistakes' ./reconcile/reconciletest -mistakes -duration $(SIM)

# The race detector on what does not link k8s.io/kubernetes: to build all of that with it takes longer than all tests together. unit tests the others without.
race:
	CGO_ENABLED=1 $(TEST) -race -shuffle=on $$($(TESTED) | awk '!/ k8s.io\/kubernetes\// {print $$1}')

root: ## the parts of the runtime on the real kernel; needs root
	@[ "$$(id -u)" = 0 ] || { echo "make root: these tests make namespaces and mounts: run them as root"; exit 1; }
	$(TEST) -timeout 10m ./runtime/... ./e2e/isolate/... ./e2e/leak/... ./e2e/images/...

e2e: ## the built binary as a user sees it; needs root
	$(TEST) -timeout 30m ./e2e

sim: ## the simulation with SEEDS seeds
	BERTH_SIM_SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 24h -run 'Simulation|Sim' -v ./reconcile/reconciletest/...

bench: deps ## speed and memory beside the physical limit and other engines; needs root
	$(GO) run ./e2e/bench
	$(GO) test -run xxx -bench . ./runtime/network

corpus: deps ## run the manifests of others below CORPUS unchanged, with stand-ins for their images; needs root
	$(GO) run ./e2e/corpus $(CORPUS)

kubectl-suite: deps ## run the Kubernetes project's own tests of kubectl against berth; needs root
	$(GO) run ./e2e/kubectlsuite

kubectl-compare: deps ## the same kubectl commands on berth and on a real Kubernetes, and what is different; needs root
	$(GO) run ./e2e/kubectlcompare

lint: ## golangci-lint, pinned in .tools
	$(LINT) run

fmt: ## gofumpt and goimports
	$(LINT) fmt

verify: ## formatted, tidy, lint clean and nothing left to commit
	$(LINT) fmt
	$(GO) mod tidy
	git diff --exit-code
	$(LINT) run

clean: ## remove what was built
	rm -rf bin
	$(GO) clean -testcache
