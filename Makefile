# Twinreel. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
BIN     := $(CURDIR)/bin
TOOLS   := $(CURDIR)/.tools
SERVICES := ingestsvc dvrsvc replsvc gateway

# Tools, by exact version.
BUF_VERSION          := v1.75.0
PROTOC_GEN_GO        := v1.36.12
PROTOC_GEN_GO_GRPC   := v1.6.2
GOLANGCI_VERSION     := v2.5.0
GOTESTSUM_VERSION    := v1.13.0
GRPCURL_VERSION      := v1.9.3

# Unit and property tests; the whole-system suites are listed apart because they take real time.
UNIT := $(shell $(GO) list ./... 2>/dev/null | grep -v -e /tests/modes -e /tests/e2e -e /tests/faults -e /tests/sim)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /: /' | sort

.PHONY: build
build: ## Build the four services and twinreel into bin/
	@mkdir -p $(BIN)
	@for s in $(SERVICES); do CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -o $(BIN)/$$s ./$$s; done
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -o $(BIN)/twinreel ./deploy/twinreel

.PHONY: need
need:
	@.ci/need ffmpeg:ffmpeg

.PHONY: need-race
need-race:
	@.ci/need ffmpeg:ffmpeg gcc:gcc systemd-analyze:systemd ip:iproute2

.PHONY: demo
demo: need build ## Run the three modes on this machine, and judge them (about a minute; DEMO_ARGS=…)
	@$(BIN)/twinreel demo $(DEMO_ARGS)

.PHONY: test
test: need-race $(TOOLS)/gotestsum ## Run all tests with the race detector: units, then whole sites on real sockets and files
	@$(TOOLS)/gotestsum --format pkgname --jsonfile $(CURDIR)/.tools/unit.json -- -race -timeout 25m $(UNIT)
	@$(TOOLS)/gotestsum --format testname --jsonfile $(CURDIR)/.tools/modes.json -- -race -timeout 15m ./tests/modes/...

.PHONY: e2e
e2e: e2e-processes e2e-containers ## Run two sites as eight real processes, then as eight containers, and kill them

.PHONY: e2e-processes
e2e-processes: need-race build $(TOOLS)/gotestsum $(TOOLS)/grpcurl
	@TWINREEL_BIN=$(BIN) PATH=$(TOOLS):$$PATH $(TOOLS)/gotestsum --format testname --jsonfile $(CURDIR)/.tools/e2e.json -- -count=1 -parallel 4 -timeout 20m ./tests/e2e

.PHONY: e2e-containers
e2e-containers: need-race build $(TOOLS)/gotestsum $(TOOLS)/grpcurl
	@.ci/need docker-compose:docker-compose
	@.ci/with-docker $(MAKE) --no-print-directory containers

.PHONY: containers
containers: images
	@TWINREEL_IMAGES=1 PATH=$(BIN):$(TOOLS):$$PATH TESTCONTAINERS_RYUK_DISABLED=true TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1 \
	  $(TOOLS)/gotestsum --format testname --jsonfile $(CURDIR)/.tools/containers.json -- -count=1 -timeout 20m ./tests/e2e/containers

.PHONY: images
images: build ## Build a container image of each binary (needs a Docker Engine, no registry)
	@mkdir -p dist/images/data && cp $(addprefix $(BIN)/,$(SERVICES) twinreel) dist/images/
	@for b in $(SERVICES) twinreel; do \
	  DOCKER_BUILDKIT=0 docker build -q -t twinreel/$$b:latest --build-arg BINARY=$$b -f deploy/docker/Dockerfile dist/images >/dev/null 2>&1 \
	  && echo twinreel/$$b:latest || { echo "image twinreel/$$b could not be built: is a Docker Engine running?" >&2; exit 1; }; done

# How often each fault is made in a run of the whole; a short run, as CI has it, makes each a few times.
FAULT_SUITES := ./dvrsvc/internal/store:TestAnyOperationFails:1 ./dvrsvc/internal/store:TestStartFails:3 ./dvrsvc/internal/store:TestBitFlips:1000 \
  ./dvrsvc/internal/store:TestPowerCuts:2000 ./dvrsvc/internal/store:TestRandom:1000000 ./tests/faults:TestMountFullDisk:1 ./tests/faults:TestMountPowerCuts:1000 ./tests/faults:TestKills:1000

.PHONY: faults
faults: build $(TOOLS)/gotestsum ## Kill, cut the power, tear, rot and fill disks; FAULTS=short: a few minutes, else more than an hour, with a log in tests/faults/logs
ifeq ($(FAULTS),short)
	@TWINREEL_BIN=$(BIN) $(TOOLS)/gotestsum --format testname --jsonfile $(CURDIR)/.tools/faults.json -- -count=1 -timeout 5m \
	  -run 'TestAnyOperationFails|TestBitFlips|TestPowerCuts|TestKills' ./dvrsvc/internal/store ./tests/faults
else
	@.ci/need mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs
	@mkdir -p tests/faults/logs; log=tests/faults/logs/$$(date -u +%Y%m%dT%H%M%S)-$$(git rev-parse --short HEAD).log; \
	{ echo "commit $$(git rev-parse HEAD)$$(git diff --quiet || echo ', changed'), $$(uname -sr), $$(nproc) CPU, seed $${TWINREEL_SEED:-of each test}"; \
	for s in $(FAULT_SUITES); do IFS=: read -r p run n <<<"$$s"; \
	  echo "$$(date -u +%FT%TZ) TWINREEL_FAULTS=$$n go test -count=1 -v -timeout 2h -run ^$$run $$p"; \
	  TWINREEL_BIN=$(BIN) TWINREEL_FAULTS=$$n $(GO) test -count=1 -v -timeout 2h -run "^$$run" $$p 2>&1 \
	  | grep -vE '^20[0-9/]+ |=== ' || exit 1; done; date -u +%FT%TZ; } | tee $$log
endif

.PHONY: loss
loss: build ## Two sites that lose datagrams apart, at every rate, for LOSS of media (default 10m), with a log in tests/e2e/logs
	@.ci/need ffmpeg:ffmpeg systemd-analyze:systemd
	@mkdir -p tests/e2e/logs; log=tests/e2e/logs/$$(date -u +%Y%m%dT%H%M%S)-$$(git rev-parse --short HEAD)-loss.log; \
	{ echo "commit $$(git rev-parse HEAD)$$(git diff --quiet || echo ', changed'), $$(uname -sr), $$(nproc) CPU"; \
	echo "$$(date -u +%FT%TZ) TWINREEL_LOSS_FOR=$(or $(LOSS),10m) go test -count=1 -v -timeout 1h -run ^TestLossApart ./tests/e2e"; \
	TWINREEL_BIN=$(BIN) TWINREEL_LOSS_FOR=$(or $(LOSS),10m) $(GO) test -count=1 -v -timeout 1h -run '^TestLossApart$$' ./tests/e2e 2>&1 \
	| grep -vE '^ +time=|=== ' || exit 1; date -u +%FT%TZ; } | tee $$log

.PHONY: sim
sim: $(TOOLS)/gotestsum ## Simulate 2 to 5 sites with faults of every kind, SIM seeds (default 200), for SIM_FOR at most; TWINREEL_SEED=… repeats one
	@TWINREEL_SIM=$(or $(SIM),200) TWINREEL_SIM_FOR=$(SIM_FOR) $(TOOLS)/gotestsum --format standard-quiet --jsonfile $(CURDIR)/.tools/sim.json -- -count=1 -timeout 10m -v ./tests/sim

# The log has what failed; .tools/sim-long.out has all, until the next one.
.PHONY: sim-long
sim-long: ## Simulate SIM seeds (default 10000) after the first SIM_AFTER (default 0) of the sequence that make sim begins, and keep a log
	@mkdir -p tests/sim/logs .tools; log=tests/sim/logs/$$(date -u +%Y%m%dT%H%M%S)-$$(git rev-parse --short HEAD).log; \
	$(GO) test -c -o .tools/sim.test ./tests/sim || exit 1; \
	{ echo "commit $$(git rev-parse HEAD)$$(git diff --quiet || echo ', changed'), $$(uname -sr), $$(nproc) CPU"; \
	echo "$$(date -u +%FT%TZ) make sim-long SIM=$(or $(SIM),10000) SIM_AFTER=$(or $(SIM_AFTER),0)"; \
	(cd tests/sim; TWINREEL_SIM=$(or $(SIM),10000) TWINREEL_SIM_AFTER=$(or $(SIM_AFTER),0) $(TOOLS)/sim.test -test.run '^TestSim$$' -test.timeout 0 -test.v 2>&1) | tee .tools/sim-long.out \
	| grep -E '^( *)--- FAIL|TWINREEL_SEED=|settled in|cluster_test.go|seeds: |^(PASS|FAIL|ok|panic)' | tee .tools/sim-long.txt | sed -uE '/settled in/d'; \
	echo "$$(grep -c 'settled in' .tools/sim-long.txt) seeds told their end"; date -u +%FT%TZ; } | tee $$log; grep -q '^PASS' $$log

.PHONY: mutants
mutants: ## Plant bugs, one by one, and see that the test named for each fails; MUTANTS=… some of them
	@$(GO) run ./tests/mutants -copy $(TOOLS)/mutants $(MUTANTS)

.PHONY: bench
bench: need build ## Measure CPU and memory against the floor and ffmpeg, how many streams this machine takes, the archive under load, and replication (BENCH_ARGS=…)
	@.ci/need rsync:rsync
	@$(GO) run ./tests/bench -bin $(BIN) $(BENCH_ARGS)

.PHONY: lint
lint: $(TOOLS)/golangci-lint $(TOOLS)/buf gen-check ## Check style, imports, protos, and that generated code is fresh
	@cd proto && $(TOOLS)/buf lint
	@$(TOOLS)/golangci-lint run ./...

.PHONY: gen
gen: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc ## Generate Go from the protos
	@PATH=$(TOOLS):$$PATH $(TOOLS)/buf generate

.PHONY: gen-check
gen-check: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc
	@tmp=$$(mktemp -d); trap 'rm -rf $$tmp' EXIT; \
	PATH=$(TOOLS):$$PATH $(TOOLS)/buf generate -o $$tmp; \
	for f in $$(cd $$tmp && find proto -name '*.pb.go'); do \
	  cmp -s $$tmp/$$f $$f || { echo "$$f is stale: run make gen" >&2; exit 1; }; done

.PHONY: property
property: ## Look for seeds that break a property of the packager, ROUNDS times (default 20)
	@for i in $$(seq $(or $(ROUNDS),20)); do \
	  TWINREEL_SEED=random $(GO) test -count=1 ./ingestsvc/internal/packager -run 'Join|Wrap$$|Loss|Lost|Changes|Changed|Data|Hostile|Short' -v >.tools/property.log 2>&1 \
	  || { grep -E 'TWINREEL_SEED|^ *[a-z_]*_test.go|FAIL' .tools/property.log; exit 1; }; done; echo "$(or $(ROUNDS),20) rounds: no seed failed"

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (default 30s)
	@$(GO) list ./... | while read -r p; do d=$${p#github.com/twinreel/twinreel/}; \
	  grep -rhoE '^func (Fuzz[A-Za-z0-9_]+)' $$d --include='*_test.go' 2>/dev/null | awk '{print $$2}' | sort -u | while read -r f; do \
	    grep -q "func $$f(" $$d/*_test.go 2>/dev/null || continue; \
	    echo "== $$p $$f"; $(GO) test $$p -run '^$$' -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),30s) -fuzzminimizetime 1s; done; done

.PHONY: clean
clean: ## Remove what the build made
	@rm -rf $(BIN) $(TOOLS)

$(TOOLS)/buf:
	@GOBIN=$(TOOLS) GOFLAGS= $(GO) install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
$(TOOLS)/protoc-gen-go:
	@GOBIN=$(TOOLS) GOFLAGS= $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO)
$(TOOLS)/protoc-gen-go-grpc:
	@GOBIN=$(TOOLS) GOFLAGS= $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC)
$(TOOLS)/golangci-lint:
	@GOBIN=$(TOOLS) GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
$(TOOLS)/gotestsum:
	@GOBIN=$(TOOLS) GOFLAGS= $(GO) install gotest.tools/gotestsum@$(GOTESTSUM_VERSION)
$(TOOLS)/grpcurl:
	@GOBIN=$(TOOLS) GOFLAGS= $(GO) install github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL_VERSION)
