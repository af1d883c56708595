# Weir: everything CI and acceptance do is a target here. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
HOST := $(shell rustc -vV | sed -n "s/^host: //p")
WEIR := $(CARGO_TARGET_DIR)/$(HOST)/release/weir
CORPUS ?= ../shared/corpus
PROTO ?= pg
SECONDS ?= 60
# Pure crates: no IO, no clock, no randomness. Crates of the data path: no Kubernetes client.
PURE := policy sql detect wire-postgres wire-ssh
NO_KUBE := gateway sidecar collector uplink injection api

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# ------------------------------------------------------------------ what the issue asks for

.PHONY: demo
demo: release ## the story on one machine: intercept, deny, mask, hold, approve, record, query (KEEP=1 leaves it up)
	@WEIR=$(WEIR) KEEP=$(KEEP) bash e2e/demo.sh

.PHONY: test
test: ## format, lints, rules, units, real servers and drivers, network namespaces (FULL=1: full load and size)
	@FULL=$(FULL) bash e2e/test.sh

.PHONY: e2e
e2e: ## Weir on a real cluster, installed with Helm (root) [ONLY=quickstart,attacks]
	@python3 e2e/k8s/run.py $(if $(ONLY),--only "$(ONLY)") $(if $(ON),--on $(ON))

.PHONY: cluster
cluster: ## a real single-node Kubernetes that stays up, with Weir, a database and an application
	@python3 e2e/cluster/cluster.py up

.PHONY: cluster-down
cluster-down: ## stop it
	@python3 e2e/cluster/cluster.py down

.PHONY: corpus
corpus: ## the evasion corpus: PROTO=pg|pii|ssh|kube [CORPUS=DIR] [POLICY=allow-list, for ssh]; last line is JSON
	@if [ "$(PROTO)" != pii ]; then $(MAKE) release >&2; fi; \
	WEIR=$(WEIR) CORPUS=$(CORPUS) POLICY=$(or $(POLICY),policy) bash e2e/corpus/run.sh $(PROTO)

.PHONY: bench
bench: ## the budgets, side by side with direct, a bare relay and PgBouncer [ONLY=B3,B4; ONLY=collector FULL=1: 10 M events]
	@$(MAKE) release BENCH=1
	@WEIR=$(WEIR) python3 e2e/bench/run.py $(if $(ONLY),--only $(ONLY))

.PHONY: fuzz
fuzz: ## every decoder under libFuzzer, SECONDS=60 in all [ONLY=sql]
	@FUZZ_SECONDS=$(SECONDS) ONLY="$(ONLY)" bash e2e/fuzz.sh

.PHONY: fuzz-check
fuzz-check: ## the fuzz targets compile, without a warning
	@bash e2e/fuzz.sh check

.PHONY: images
images: ## FROM scratch images in target/images [IMAGE_REPO=weir.dev IMAGE_TAG=…]
	@IMAGE_REPO=$(IMAGE_REPO) IMAGE_TAG=$(IMAGE_TAG) python3 e2e/images.py --check

# ------------------------------------------------------------------------------ single steps

.PHONY: release
release: ## the binaries that everything end to end uses, together: alone, `weir` has other features, and compiles everything anew
	@cargo build --release --locked -p weir-cli -p weir-sidecar -p weir-controller -p weir-collector $(if $(BENCH),-p weir-bench)

.PHONY: manifests
manifests: ## manifests/install.yaml from the chart
	@python3 e2e/cluster/cluster.py manifests

.PHONY: lint
lint: fmt-check generated-check ## clippy without a warning, all targets; generated files are up to date
	cargo clippy --release --workspace --features weir-api/crds --all-targets --locked -- -D warnings

.PHONY: fmt
fmt: ## format
	cargo fmt --all
	cargo fmt --manifest-path e2e/fuzz/Cargo.toml --all

.PHONY: fmt-check
fmt-check: ## is it formatted?
	cargo fmt --all -- --check

.PHONY: unit
unit: ## unit, byte and in-memory tests
	cargo test --release --workspace --features weir-api/crds --locked --quiet

.PHONY: generated
generated: ## custom resource definitions, their chart and docs/crds.md, and what the chart says of injected pods
	cargo run --release --features weir-api/crds --bin crdgen --locked --quiet write .
	cargo run --release --features weir-api/crds --bin injectgen --locked --quiet write .

.PHONY: generated-check
generated-check: ## are the generated files what the types say?
	@cargo run --release --features weir-api/crds --bin crdgen --locked --quiet check .
	@cargo run --release --features weir-api/crds --bin injectgen --locked --quiet check .

.PHONY: deps-check
deps-check: ## which crate may link what
	@PURE="$(PURE)" NO_KUBE="$(NO_KUBE)" bash e2e/deps-check.sh

.PHONY: clickhouse
clickhouse: ## ClickHouse as the search engine, against the real engine (chDB)
	@bash e2e/clickhouse/run.sh

.PHONY: netns
netns: release ## network namespaces with the real redirect (root)
	@WEIR=$(WEIR) bash e2e/netns/run.sh --release

.PHONY: drivers
drivers: release ## eight drivers, direct and through Weir, byte for byte [ONLY=asyncpg]
	python3 e2e/drivers/run.py --weir $(WEIR) $(if $(ONLY),--only $(ONLY))

.PHONY: notify
notify: release ## people are told in Slack and by mail, and decide in Slack [ONLY=button]
	python3 e2e/notify/run.py --weir $(WEIR) $(if $(ONLY),--only "$(ONLY)")

.PHONY: exports
exports: release ## OCSF and OpenTelemetry, judged by their own schemas [ONLY=ocsf]
	python3 e2e/exports/run.py --weir $(WEIR) $(if $(ONLY),--only "$(ONLY)")

.PHONY: policy
policy: release ## what policies do, through real clients
	python3 e2e/policy/run.py --weir $(WEIR) $(if $(ONLY),--only "$(ONLY)")

.PHONY: ssh
ssh: release ## SSH through Weir, seen by stock clients (root)
	python3 e2e/ssh/run.py --weir $(WEIR) $(if $(ONLY),--only "$(ONLY)")

.PHONY: kube
kube: release ## the Kubernetes API through Weir: hostile clients, a hostile server [ONLY=smuggled]
	python3 e2e/kube/hostile.py --weir $(WEIR) $(if $(FULL),--full) $(if $(ONLY),--only "$(ONLY)")

.PHONY: kube-attacks
kube-attacks: release ## what somebody in a pod tries against a real API server through Weir [ONLY=guesses]
	python3 e2e/kube/attacks.py --weir $(WEIR) $(if $(ONLY),--only "$(ONLY)")

.PHONY: kube-clients
kube-clients: release ## kube-rs and a Java client, direct and through Weir, against a real API server [ONLY=java]
	python3 e2e/kube/clients.py --weir $(WEIR) $(if $(ONLY),--only "$(ONLY)")

.PHONY: browser
browser: release ## the web UI in Chromium, with a real identity provider; pictures in target/browser (root)
	python3 e2e/browser/run.py --weir $(WEIR) $(if $(ONLY),--only "$(ONLY)")

.PHONY: faults
faults: release ## bad input and faults
	python3 e2e/faults/run.py --weir $(WEIR) $(if $(FULL),--full) $(if $(ONLY),--only "$(ONLY)")

.PHONY: suites
suites: release ## other people's tests (PostgreSQL's, libpq's, asyncpg's, pgx's) and pgbench, direct and through Weir
	python3 e2e/suites/run.py all --weir $(WEIR)

.PHONY: cluster-smoke
cluster-smoke: ## is the cluster a cluster? (root)
	python3 e2e/cluster/smoke.py $(if $(ONLY),--only "$(ONLY)")

.PHONY: cluster-pod
cluster-pod: images ## the image in real pods: with a listener, and as a sidecar that redirects (root)
	python3 e2e/cluster/pod.py $(if $(ONLY),--only "$(ONLY)")

.PHONY: harness
harness: ## the suites against a bare relay: the yardstick differs nowhere
	python3 e2e/drivers/run.py --relay
	python3 e2e/faults/run.py --relay
	python3 e2e/policy/run.py --direct

.PHONY: crds
crds: ## the definitions and their fixtures against a real API server [KUBECTL="kubectl --kubeconfig FILE"]
	python3 e2e/crds.py --kubectl "$(or $(KUBECTL),kubectl)"

.PHONY: clean
clean: ## build results (not the cache in ~/.cache/weir)
	cargo clean
