# make up          build, install and start the platform; again after a change: bring it into service
# make down        stop it, dynos included; data stays
# make uninstall   remove every trace (asks before it deletes apps; YES=1 answers)
# make test        everything that CI runs, beside a running platform
# make test-vm     a platform's day on stock Debian 12 and 13, in emulation (half an hour)
#
# make up DOMAIN=paas.example.org DATA_DIR=/srv/paas HTTP_PORT=80    changes the defaults and keeps them

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help up down uninstall test packages toolchain build stack programs settings start account \
	next before formatting lints docs units system leftovers bpf test-packages

DOMAIN ?=
DATA_DIR ?=
HTTP_PORT ?=
YES ?=

INSTANCE := paas
PROGRAM := /usr/local/lib/$(INSTANCE)
# A data folder elsewhere is linked here, so that every command finds it.
DATA := /var/lib/$(INSTANCE)
STACK := debian-13
UNIT := /etc/systemd/system/$(INSTANCE).service
BUILT := target/release
LOG := target/make.log
export CARGO_TERM_COLOR := never

# command:package, for commands that are looked for; then the Rust toolchain where there is none.
PACKAGES := mmdebstrap:mmdebstrap mold:mold cc:build-essential pkg-config:pkg-config git:git nft:nftables \
	iptables-restore:iptables mkfs.ext4:e2fsprogs update-ca-certificates:ca-certificates curl:curl useradd:passwd ip:iproute2 \
	python3:python3
# Other people's tools, for tests.
TEST_PACKAGES := skopeo:skopeo buildah:buildah
RUST_PACKAGES := rustc-web cargo-web rust-web-clippy rustfmt-web
RUST_MINOR := 95

# Run as root: `sudo make up` and `make up` do the same.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
# Whoever types: the account is theirs, and they build with their own Rust.
PERSON := $(or $(SUDO_USER),$(shell id -un))
PERSON_HOME := $(if $(SUDO_USER),$(shell getent passwd $(PERSON) | cut -d: -f6),$(HOME))
export PATH := $(PERSON_HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin

# say WHAT; quietly WHAT COMMAND...: a line, and the command's output in a file, shown when it fails.
define shell_functions
say() { printf -- '-----> %s\n' "$$*"; }
quietly() {
	local what=$$1 started=$$SECONDS; shift
	say "$$what"
	mkdir -p $(dir $(LOG))
	if ! "$$@" > $(LOG) 2>&1; then
		tail -n 25 $(LOG) >&2
		printf ' !     %s failed; all of its output: %s\n' "$$what" "$(LOG)" >&2
		exit 1
	fi
	(( SECONDS - started < 2 )) || printf '       %s s\n' $$(( SECONDS - started ))
}
as_root() { $(ROOT) "$$@"; }
as_person() {
	if [[ $(PERSON) == "$$(id -un)" ]]; then
		"$$@"
	else
		runuser -u $(PERSON) -- env -u XDG_CONFIG_HOME HOME=$(PERSON_HOME) "$$@"
	fi
}
# put FROM TO: installs a program unless it is there already; a new file, so that the old one runs on.
put() { cmp -s "$$1" "$$2" || as_root install -D -m 755 "$$1" "$$2"; }
endef

help:
	sed -n '/^#/!q; s/^# \?//p' Makefile

up: packages toolchain build stack programs settings start account next

packages: WANTED := $(PACKAGES)
test-packages: WANTED := $(TEST_PACKAGES)
packages test-packages:
	$(shell_functions)
	missing=()
	for pair in $(WANTED); do
		[[ -n $$(type -P "$${pair%%:*}") ]] || missing+=("$${pair#*:}")
	done
	if (( $${#missing[@]} > 0 )); then
		quietly "Installing $${missing[*]}" as_root bash -c \
			"export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -qy --no-install-recommends $${missing[*]}"
	fi

toolchain:
	$(shell_functions)
	minor() { as_person cargo --version 2> /dev/null | sed -nE 's/^cargo 1\.([0-9]+).*/\1/p' | grep . || echo 0; }
	(( $$(minor) < $(RUST_MINOR) )) || exit 0
	quietly "Installing Rust ($(RUST_PACKAGES))" as_root bash -c \
		"export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -qy $(RUST_PACKAGES)"
	if (( $$(minor) < $(RUST_MINOR) )); then
		printf ' !     Rust 1.%s or newer is needed, this machine got 1.%s.\n' $(RUST_MINOR) "$$(minor)" >&2
		printf ' !     Debian 12 has it in bookworm-security: see that apt has that source.\n' >&2
		exit 1
	fi

build:
	$(shell_functions)
	quietly "Building (minutes the first time, seconds later)" as_person cargo build --release --locked \
		-p paas -p sandbox -p static-server --bins

stack:
	$(shell_functions)
	as_root stacks/make $(STACK)

programs:
	$(shell_functions)
	say "Installing to $(PROGRAM)"
	put $(BUILT)/paas $(PROGRAM)/paas
	put $(BUILT)/nursery $(PROGRAM)/nursery
	as_root mkdir -p $(PROGRAM) /usr/local/bin
	as_root ln -sfn $(PROGRAM)/paas /usr/local/bin/paas
	staged=$$(mktemp -d)
	trap 'rm -rf "$$staged"' EXIT
	for buildpack in python nodejs static procfile; do cp -r buildpacks/$$buildpack "$$staged/"; done
	rm -rf "$$staged/static/server"
	install -D -m 755 $(BUILT)/static-server "$$staged/static/bin/static-server"
	chmod -R u=rwX,go=rX "$$staged"
	if ! diff -rq "$$staged" $(PROGRAM)/buildpacks > /dev/null 2>&1; then
		as_root rm -rf $(PROGRAM)/buildpacks.new
		as_root cp -r "$$staged" $(PROGRAM)/buildpacks.new
		as_root rm -rf $(PROGRAM)/buildpacks
		as_root mv $(PROGRAM)/buildpacks.new $(PROGRAM)/buildpacks
	fi

settings:
	$(shell_functions)
	if [[ -n "$(DATA_DIR)" && "$(DATA_DIR)" != $(DATA) ]]; then
		as_root mkdir -p "$(DATA_DIR)"
		if [[ -e $(DATA) && $$(readlink -f $(DATA)) != $$(readlink -f "$(DATA_DIR)") ]]; then
			printf ' !     %s\n' "data is in $$(readlink -f $(DATA)) already: make down, move it, link $(DATA) to it" >&2
			exit 1
		fi
		as_root ln -sfnT "$$(readlink -f "$(DATA_DIR)")" $(DATA)
	fi
	ask() { as_person "$$@" 2> /dev/null || true; }
	as_root $(PROGRAM)/paas configure --data $(DATA) \
		$(if $(DOMAIN),--domain "$(DOMAIN)") $(if $(HTTP_PORT),--http-port "$(HTTP_PORT)") \
		--pip "$$(ask pip config list)" --npm-registry "$$(ask npm config get registry)" \
		--npm-timeout "$$(ask npm config get fetch-timeout)" > /dev/null
	if [[ -d /run/systemd/system ]]; then
		unit=$$(sed 's|@PROGRAM@|$(PROGRAM)|; s|@DATA@|$(DATA)|' src/up/paas.service)
		if [[ "$$unit" != "$$(cat $(UNIT) 2> /dev/null)" ]]; then
			as_root tee $(UNIT) <<< "$$unit" > /dev/null
			as_root systemctl daemon-reload
			as_root systemctl enable --quiet $(INSTANCE).service
		fi
	fi

start:
	$(shell_functions)
	say "Starting the platform"
	as_root $(PROGRAM)/paas up --data $(DATA)

# Root is signed in through the control socket; everybody else with a token that root got there.
account:
	$(shell_functions)
	if as_person paas auth:whoami > /dev/null 2>&1; then exit 0; fi
	say "Signing $(PERSON) in"
	if [[ $(PERSON) == root ]]; then
		paas login --data $(DATA)
	else
		home=$$(as_root mktemp -d)
		trap 'as_root rm -rf "$$home"' EXIT
		# Whoever signed in before keeps their account.
		email=$$(sed -nE 's/^email = "(.+)"/\1/p' $(PERSON_HOME)/.config/paas/account.toml 2> /dev/null || true)
		as_root env HOME="$$home" XDG_CONFIG_HOME="$$home/.config" \
			paas login --data $(DATA) $${email:+--email "$$email"} > /dev/null
		api=$$(as_root paas status --json --data $(DATA) | sed -nE 's/.*"api_url": *"([^"]+)".*/\1/p')
		as_root env HOME="$$home" XDG_CONFIG_HOME="$$home/.config" paas auth:token |
			as_person paas login --api-url "$$api"
	fi

next:
	$(shell_functions)
	printf '\n'
	$(ROOT) paas status --data $(DATA) | sed -n '1,4p'
	printf '%s\n' '' 'Next, a sample app from here to the browser:'
	[[ -n $$(cd / && as_person git config user.email) ]] || printf '%s\n' \
		'  git config --global user.name "Your Name"' \
		'  git config --global user.email you@example.org'
	printf '%s\n' \
		'  cp -r tests/apps/python-gunicorn ~/hello && cd ~/hello' \
		'  git init -q -b main && git add . && git commit -qm first' \
		'  paas create hello' '  git push paas main' '  paas open'

# After a change in crates/sandbox/bpf: the objects are committed, so that nobody else needs clang.
BPF := crates/sandbox/bpf
bpf:
	$(shell_functions)
	if ! type -P clang llvm-strip > /dev/null || [[ ! -e /usr/include/bpf/bpf_helpers.h ]]; then
		quietly "Installing clang" as_root bash -c \
			"export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -qy --no-install-recommends clang llvm libbpf-dev linux-libc-dev"
	fi
	work=$$(mktemp -d)
	trap 'rm -rf "$$work"' EXIT
	for name in port lsm; do
		clang -O2 -g -target bpf -Wall -Wextra -Wno-unused-parameter -Werror -I/usr/include/$$(uname -m)-linux-gnu -c $(BPF)/$$name.bpf.c -o "$$work/$$name.o"
		llvm-strip -g "$$work/$$name.o"
		printf 'source sha256 %s' "$$(cat $(BPF)/policy.h $(BPF)/$$name.bpf.c | sha256sum | cut -d ' ' -f 1)" > "$$work/digest"
		llvm-objcopy --add-section=paas.source="$$work/digest" "$$work/$$name.o" $(BPF)/$$name.bpf.o
	done
	say "Built $(BPF)/*.o"

down:
	$(shell_functions)
	say "Stopping the platform"
	as_root $(PROGRAM)/paas down --data $(DATA)

uninstall:
	$(shell_functions)
	if [[ -x $(PROGRAM)/paas ]]; then
		[[ -n "$(YES)" ]] || as_root $(PROGRAM)/paas uninstall --data $(DATA) --ask
		# Signing out needs the platform: before it goes, after the question.
		as_person $(PROGRAM)/paas logout > /dev/null 2>&1 || true
		as_person rm -rf $(PERSON_HOME)/.config/paas
		as_root $(PROGRAM)/paas uninstall --data $(DATA) --yes
	fi
	if [[ -e $(UNIT) ]]; then
		as_root systemctl disable --quiet $(INSTANCE).service
		as_root rm -f $(UNIT)
		as_root systemctl daemon-reload
	fi
	as_root rm -rf $(PROGRAM) /usr/local/bin/paas $(DATA) /var/cache/$(INSTANCE)
	say "Nothing of the platform is left"

test: before formatting lints docs units system leftovers

before:
	mkdir -p target
	.ci/leftovers > target/leftovers.before

formatting:
	cargo fmt --all --check

lints:
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings' cargo doc --release --locked --workspace --no-deps --document-private-items

# Tests of namespaces, cgroups and users need root: the runner starts them so.
units:
	$(as_root_runner)
	cargo build --release --locked --workspace --bins
	cargo test --release --locked --workspace --exclude paas
	cargo test --release --locked -p paas --bins --test tidy
	for folder in buildpacks/tests; do
		[[ ! -d $$folder ]] || python3 -m unittest discover -q -s "$$folder"
	done

system: test-packages stack
	$(as_root_runner)
	cargo test --release --locked -p paas --test system

# Kernels and systemd as they come, on cgroup v2 alone: no part of `test`. docs/vm.md keeps a print-out.
test-vm: stack
	$(shell_functions)
	[[ -n $$(type -P qemu-system-x86_64) ]] || quietly "Installing qemu-system-x86" as_root bash -c \
		"export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -qy --no-install-recommends qemu-system-x86"
	cargo build --release --locked -p paas -p sandbox -p static-server --bins
	cargo test --release --locked -p sandbox --no-run --message-format=json > target/vm.json
	cargo test --release --locked -p paas --test system --no-run --message-format=json >> target/vm.json
	as_root tests/vm/run

leftovers:
	$(shell_functions)
	left=$$(.ci/leftovers | grep -vxFf target/leftovers.before || true)
	if [[ -n $$left ]]; then
		printf ' !     tests left this on the machine:\n%s\n' "$$left" >&2
		exit 1
	fi

define as_root_runner
$(if $(ROOT),export CARGO_TARGET_$(shell uname -m | tr a-z A-Z)_UNKNOWN_LINUX_GNU_RUNNER='sudo -E')
endef
