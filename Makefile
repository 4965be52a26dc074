# SPDX-License-Identifier: BSD-3-Clause
#
# The front door: `make help` lists what there is. Everything made or fetched lies in build/
# (and build-bench/, build-asan/, build-tsan/, build-clang/, build-fuzz/ beside it).

BUILD ?= build
PREFIX ?= /usr/local
PYTHON ?= python3
NINJA_JOBS ?= $(shell nproc)
# Extra words for meson setup, and for the tests: make test T=vlan
MESON_ARGS ?=
T ?=

# SOFTIOV_SLOW multiplies what the tests wait, for programs that a sanitizer slows down.
ASAN_ARGS = -Db_sanitize=address,undefined -Db_lundef=false -Dbench=false
RELEASE_ARGS = -Dbuildtype=release -Dtests=false
BENCH_ARGS ?=
# Which comparisons make bench-peers runs, and words for each
PEER ?= ovs-dpdk dpdk-vhost qemu-net qemu-nvme
PEER_ARGS ?=
TSAN_ARGS = -Db_sanitize=thread -Db_lundef=false -Dbench=false

.PHONY: all setup build vm test unit proto vmtest layers demo shell bench bench-peers bench-scale fuzz stress asan tsan \
	test-asan clang format format-check lint install clean distclean help

all: build

help: ## list the targets
	@echo "softiov: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install by apt what is missing (asks for root only then)
	@tools/setup

define configure
	@test -f $(1)/build.ninja || meson setup $(1) --prefix $(PREFIX) $(2) $(MESON_ARGS)
endef

build: setup ## build the programs and the tests into build/
	$(call configure,$(BUILD),)
	@ninja -C $(BUILD) -j$(NINJA_JOBS)

vm: setup ## fetch QEMU, a guest kernel and a guest system into build/vm
	@tools/vm-fetch --storage

test: build vm ## everything: layers, unit, protocol and VM tests
	@tools/run-tests --layers --meson $(BUILD) --vm $(if $(T),-k $(T))

unit: build ## the unit tests
	@tools/run-tests --layers --meson $(BUILD) --suite unit $(if $(T),-k $(T))

proto: build ## the protocol tests
	@tools/run-tests --meson $(BUILD) --suite proto $(if $(T),-k $(T))

vmtest: build vm ## the VM tests; T=WORD selects
	@SOFTIOV_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/vm/runner.py $(T)

layers: setup ## check which folder includes which
	@tools/check-layers

demo: build vm ## show it: VMs that talk through virtual functions
	@SOFTIOV_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/vm/demo.py

shell: vm ## a shell in a test VM; SOCK="PATH ..." attaches vfio-user sockets
	@$(PYTHON) tests/vm/shell.py $(SOCK)

bench: setup ## benchmarks: figures with their conditions and spread; BENCH_ARGS="--help"
	$(call configure,build-bench,$(RELEASE_ARGS))
	@ninja -C build-bench -j$(NINJA_JOBS) src/daemon/softiovd bench/softiov-bench
	@build-bench/bench/softiov-bench --json build-bench/bench/softiov-bench.json $(BENCH_ARGS)

bench-scale: setup ## benchmark from 1 to 255 VFs; draws docs/scale.svg
	@command -v gnuplot >/dev/null || { echo "make bench-scale: there is no gnuplot: install gnuplot-nox" >&2; exit 1; }
	$(call configure,build-bench,$(RELEASE_ARGS))
	@ninja -C build-bench -j$(NINJA_JOBS) src/daemon/softiovd bench/softiov-bench
	@build-bench/bench/softiov-bench --scale --json build-bench/bench/scale.json $(BENCH_ARGS)
	@gnuplot -e "data='build-bench/bench/scale.dat'; out='docs/scale.svg'" bench/scale.gp
	@sed -i '1a <!-- SPDX-License-Identifier: BSD-3-Clause -->' docs/scale.svg

bench-peers: setup ## softiov beside others (PEER=ovs-dpdk dpdk-vhost qemu-net qemu-nvme); docs/peers.md
	$(call configure,build-bench,$(RELEASE_ARGS))
	@ninja -C build-bench -j$(NINJA_JOBS) src/daemon/softiovd src/cli/softiov bench/softiov-bench
	@set -e; for p in $(PEER); do case $$p in qemu-*) tools/vm-fetch --storage ;; esac; \
		$(PYTHON) -B bench/peers/$$p $(PEER_ARGS); done

fuzz: ## build the fuzzers with clang and run each for FUZZ_SECONDS (30)
	@tools/setup build fuzz
	@test -f build-fuzz/build.ninja || CC=clang meson setup build-fuzz -Dfuzz=true -Dbench=false \
		-Dtests=false -Db_sanitize=address,undefined -Db_lundef=false $(MESON_ARGS)
	@ninja -C build-fuzz -j$(NINJA_JOBS)
	@tools/run-fuzz build-fuzz $${FUZZ_SECONDS:-30}

stress: build ## wake-ups under stress for STRESS_SECONDS (300)
	@SOFTIOV_STRESS_S=$${STRESS_SECONDS:-300} $(BUILD)/tests/stress/wakeups

asan: setup ## unit and protocol tests under AddressSanitizer and UBSan
	$(call configure,build-asan,$(ASAN_ARGS))
	@ninja -C build-asan -j$(NINJA_JOBS)
	@SOFTIOV_SLOW=3 tools/run-tests --meson build-asan $(if $(T),-k $(T))

tsan: setup ## unit and protocol tests under ThreadSanitizer
	$(call configure,build-tsan,$(TSAN_ARGS))
	@ninja -C build-tsan -j$(NINJA_JOBS)
	@SOFTIOV_SLOW=5 tools/run-tests --meson build-tsan $(if $(T),-k $(T))

test-asan: setup vm ## everything as in test, the daemon under AddressSanitizer
	$(call configure,build-asan,$(ASAN_ARGS))
	@ninja -C build-asan -j$(NINJA_JOBS)
	@SOFTIOV_SLOW=3 tools/run-tests --layers --meson build-asan --vm $(if $(T),-k $(T))

clang: ## build with clang, warnings being errors, and run the unit tests
	@tools/setup build clang
	@test -f build-clang/build.ninja || CC=clang meson setup build-clang -Dbench=false $(MESON_ARGS)
	@ninja -C build-clang -j$(NINJA_JOBS)
	@tools/run-tests --meson build-clang --suite unit

SOURCES = $(shell git ls-files '*.c' '*.h')

format: ## put every source into the style of .clang-format
	@tools/setup lint
	@clang-format -i $(SOURCES)

format-check: ## name the sources that are not
	@tools/setup lint
	@clang-format --dry-run -Werror $(SOURCES)

lint: build ## clang-tidy over the product's sources
	@tools/setup lint
	@clang-tidy --quiet -p $(BUILD) $(filter src/%.c,$(SOURCES))

install: build ## install below PREFIX (and DESTDIR)
	@meson configure $(BUILD) --prefix $(PREFIX)
	@meson install -C $(BUILD)

clean: ## remove what was built; what was fetched stays
	@test ! -f $(BUILD)/build.ninja || ninja -C $(BUILD) -t clean >/dev/null
	@rm -rf build-bench build-asan build-tsan build-clang build-fuzz

distclean: clean ## remove what was fetched, too
	@rm -rf $(BUILD) build/vm
