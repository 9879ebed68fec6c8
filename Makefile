# Everything that can be done here, once. `make` alone lists it.

# CI builds outside the checkout, so that the next run finds what this one compiled.
ifdef CI
export CARGO_TARGET_DIR ?= $(HOME)/.cache/carrel/target
# A checkout at another path compiles its own crates anew: what is kept between edits would only fill the cache.
export CARGO_INCREMENTAL ?= 0
endif

.DEFAULT_GOAL := help
.PHONY: help run test chaos sim mutants build page page-hours pictures verify fix deps figures dashboards images load e2e fuzz nightly

help: ## This list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: deps ## A whole library on this machine: three replicas, the sample campus, one account per role
	cargo run --release --locked --bin carrel -- demo $(ARGS)

test: deps ## Every test: real processes, a real Postgres (DATABASE_URL names one to use), a real browser
	cargo test --workspace --locked
	node/web/tests/run.sh

chaos: deps ## Ten minutes of faults on real processes, kept in docs/reports/chaos.md; CARREL_CHAOS_SEED=n repeats a run
	sh node/benches/figures.sh chaos

sim: deps ## Seeds in virtual time, kept in docs/reports/simulation.md; SEEDS=0..20000, or any others
	cargo run --profile simulation --locked --package carrel-simulation -- \
	  --seeds $(or $(SEEDS),0..20000) --report docs/reports/simulation.md

mutants: deps ## Which planted bugs the simulation finds, and after how many seeds: docs/reports/mutants.md
	cargo run --profile simulation --locked --package carrel-simulation --features planted-bugs -- \
	  --mutants --report docs/reports/mutants.md

build: deps ## The programs: carrel and carrel-operator, in target/release
	cargo build --release --locked

page: ## The page, from node/web/src into node/web/dist, where it is committed; needs Node and npm
	cd node/web && npm ci --silent --no-audit --no-fund && npm run --silent build

page-hours: ## The page's tests at the hours when a day begins and ends; needs the program built
	set -e; for hour in 0 12 22 23; do CARREL_PAGE_HOUR=$$hour node/web/tests/run.sh; done

pictures: ## The page as it looks, into docs/pictures, in a real browser; needs the program built
	PICTURES=1 node/web/tests/run.sh

images: build ## localhost/carrel and localhost/carrel-postgres, with buildah, podman or docker
	images/build.sh

load: ## Puts the images where kind, minikube or localkube finds them, whichever is there
	images/load.sh

e2e: deps ## Stories on a real Kubernetes: KUBECONFIG, else kind, else localkube; STORIES="install roll", or --short
	e2e/run.sh $(or $(STORIES),--report docs/reports/e2e.md)

fuzz: deps ## Every decoder by libFuzzer, a minute each; SECONDS_EACH=600 for longer, what is found is kept
	node/fuzz/fuzz.sh $(TARGETS)

nightly: e2e chaos fuzz sim page-hours ## What a landing has no time for: stories, ten minutes of faults, decoders, 20,000 seeds

verify: deps ## Reads only: formatting, lints, structure, generated files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	cargo test --locked --workspace --test tidy
	charts/verify.sh

fix: deps ## Writes: formatting, the lints that mend themselves, generated files
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	UPDATE_GOLDEN=1 charts/verify.sh
	UPDATE_CATALOG=1 UPDATE_STORIES=1 UPDATE_SCRIPTS=1 UPDATE_MANIFESTS=1 UPDATE_GOLDEN=1 cargo test --workspace

figures: deps ## Every figure measured and kept in docs/reports/; TABLE=failover for one of them
	sh node/benches/figures.sh $(TABLE)

bench-peers: deps ## Bookings and searches beside etcd and one Postgres, by turns, into docs/reports/speed.md
	sh node/benches/figures.sh speed

dashboards: deps ## Three replicas under load and a failover, and every dashboard of it as a picture in docs/pictures/
	CARREL_PICTURES=$(CURDIR)/docs/pictures cargo test --locked --package carrel-node --test observe every_panel

deps: ## What the machine needs besides this checkout: Rust, a C compiler, Postgres, Prometheus, Go. Silent when all is there
	@command -v cc >/dev/null || { \
	  echo "Installing gcc, which links Rust programs and compiles what the fault suite puts under them."; \
	  $$(test "$$(id -u)" = 0 || echo sudo) sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev'; }
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || { \
	  echo "Installing Postgres, which the tests and carrel demo --postgres start for themselves."; \
	  $$(test "$$(id -u)" = 0 || echo sudo) sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql'; }
	@command -v go >/dev/null || { \
	  echo "Installing Go, which builds Helm, etcd, and Kubernetes where there is none."; \
	  $$(test "$$(id -u)" = 0 || echo sudo) sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends golang-go'; }
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || { \
	  echo "Installing Prometheus, on which the tests try dashboards and alerts."; \
	  $$(test "$$(id -u)" = 0 || echo sudo) sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus'; }
	@command -v chromium >/dev/null && command -v npm >/dev/null || { \
	  echo "Installing Chromium and npm, which the page's tests use; without them those are skipped."; \
	  $$(test "$$(id -u)" = 0 || echo sudo) sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium nodejs npm' || true; }
	@command -v cargo >/dev/null || { \
	  echo "Rust is missing: install it with rustup, see https://rustup.rs"; exit 1; }
