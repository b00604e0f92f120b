# The two commands of this repository are `make run` and `make test`. Plain `make` lists them all.

SHELL := /bin/bash
CARGO ?= cargo

# A shell of a CI has often neither cargo's folder nor the system's in its path.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

# What the tests and the benchmark run, as COMMAND=PACKAGE of Debian, or COMMAND:MODULE=PACKAGE.
TOOLS := curl=curl openssl=openssl python3=python3 python3:ensurepip=python3-venv node=nodejs npm=npm \
    nginx=nginx-light caddy=caddy haproxy=haproxy wrk=wrk h2load=nghttp2-client promtool=prometheus prometheus=prometheus \
    kubectl=kubernetes-client systemd-analyze=systemd valgrind=valgrind

# What the test of image and manifests needs beside them.
CONTAINERS := podman=podman buildah=buildah runc=runc debootstrap=debootstrap catatonit=catatonit iptables=iptables \
    /usr/lib/podman/netavark=netavark unshare=util-linux ip=iproute2 objcopy=binutils

# The gate, in this order: what fails fastest comes first. Lint and documentation share one check of all dependencies.
STAGES := packages clients format lint documentation build tests instructions

# What `bench` measures keygate beside, beyond TOOLS; Envoy comes from PyPI (.ci/clients).
PEERS := /usr/lib/nginx/modules/ngx_http_lua_module.so=libnginx-mod-http-lua

.DEFAULT_GOAL := help
.PHONY: help run test test-deploy image dist fmt bench scale compare fuzz soak clean $(STAGES)

help: ## List these commands.
	@sed -n 's/^\([a-z][-a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 22

# A debug build: it is ready in half the time of a release build, and `make test` uses what it has compiled.
run: ## Build keygate and start its demo: an upstream, a certificate and a key, with a line for curl.
	@$(CARGO) run --locked -- demo

test: ## Run the gate: everything that must pass before a change goes in.
	@table=; for stage in $(STAGES); do \
	    printf '\n== %s\n' "$$stage"; \
	    start=$$SECONDS; \
	    $(MAKE) --no-print-directory "$$stage" || { \
	        printf '\nmake test: stage "%s" failed after %d s\n' "$$stage" $$((SECONDS - start)) >&2; exit 1; }; \
	    table+=$$(printf '%-15s%5d s' "$$stage" $$((SECONDS - start)))$$'\n'; \
	done; \
	printf '\n%s%-15s%5d s\n' "$$table" total $$SECONDS

# As root. On a machine that has nothing yet it takes some ten minutes, most of them for a release build.
test-deploy: ## Build the image from the Dockerfile and run it from the manifests, under podman.
	@.ci/packages $(TOOLS) $(CONTAINERS)
	@.ci/image --local localhost/keygate:test
	@tests/deploy/run.py localhost/keygate:test

image: ## Build the image of the container (NAME=registry.example.com/keygate:1, TARGETARCH=arm64).
	@.ci/image $(NAME)

dist: ## Make the archive of a release in target/dist, with checksums.
	@.ci/dist $(TARGETARCH)

packages: ## Install what the tests need and this machine lacks.
	@.ci/packages $(TOOLS)

clients: ## Install the clients and libraries of others that the tests run, under target/interop.
	@.ci/clients

fmt: ## Format the sources.
	@$(CARGO) fmt

format: ## Check the format of the sources.
	$(CARGO) fmt --check

lint: ## Check the sources with clippy; a warning is an error.
	$(CARGO) clippy --locked --all-targets -- -D warnings

# For readers of the sources: private items are documented, and public ones may link to them.
documentation: ## Build the documentation; a broken link is an error.
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' $(CARGO) doc --locked --no-deps --document-private-items

build: ## Compile the program and its tests, with debug assertions.
	$(CARGO) test --locked --no-run
	$(CARGO) build --locked --example models

# Examples in the documentation come first, so that the results of the tests stand last.
tests: ## Run the tests: unit, integration and end-to-end.
	$(CARGO) test --locked --doc
	$(CARGO) test --locked --lib --bins --tests
	$(CARGO) run --locked --quiet --example models

# Counts, not times: they are the same on a busy machine.
instructions: ## Count what a request costs in instructions and allocations, against what is stored (bench/README.md).
	@bench/instructions.py $(ARGS)

bench: packages clients ## Measure CPU time per request beside nginx, HAProxy, Caddy and Envoy (some 20 minutes; bench/README.md).
	@.ci/packages $(PEERS)
	@bench/run.py $(ARGS)

scale: packages ## Measure how cost grows with keys, routes, connections and workers, and during reloads (some ten minutes).
	@.ci/packages $(PEERS)
	@bench/scale.py $(ARGS)

# Some minutes, much of it waiting for answers that never come. What came of each case lies in target/tmp/compare.
compare: ## Put the cases of tests/conformance to nginx, HAProxy and Caddy too (docs/conformance.md).
	@.ci/packages nginx=nginx-light haproxy=haproxy caddy=caddy
	$(CARGO) test --locked --test conformance -- --ignored --nocapture the_same_cases

# libFuzzer needs a nightly compiler. Its own corpus grows under fuzz/found; what it breaks lies in fuzz/artifacts.
fuzz: ## Look for inputs that break a parser's promises (TARGETS="path head", SECONDS_EACH=60; docs in fuzz/README.md).
	@fuzz/run $(TARGETS)

soak: packages clients ## Run mixed traffic with reloads, restarts and faults for ten minutes, and see what is left (ARGS="--seconds 120").
	@bench/soak.py $(ARGS)

clean: ## Remove everything that was built.
	@$(CARGO) clean
