export CGO_ENABLED ?= 0
GOFLAGS += -buildvcs=false
export GOFLAGS

EXAMPLES := hello primes wordcount integrate
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
# Packages that strangers or many goroutines reach.
RACE := ./exec/wasm ./exec/blob ./ledger/... ./market/... ./node/...
FUZZTIME ?= 10s

.PHONY: build examples demo test test-net test-arm64 test-kill compat race lint bench fuzz clean

build:
	go build -o p3 ./cmd/p3

# The C examples are committed with their recipes; a test rebuilds them where clang is installed.
examples:
	for e in $(EXAMPLES); do GOOS=wasip1 GOARCH=wasm go build -C exec/examples/$$e -trimpath -ldflags='-s -w' -o $$e.wasm . || exit; done

demo: build
	./p3 demo

test: examples
	go test ./...

# What needs root and network namespaces; tests tagged netns run nowhere else.
test-net:
	go test -tags netns -count=1 -run 'Net|LAN|Disk' ./node/p2p ./exec/blob ./cmd/p3

# Programs that nobody here wrote, fetched and built: rows of docs/compatibility.md. COMPAT chooses some of them.
COMPAT ?= .
compat: build
	go test -tags compat -count=1 -timeout 60m -run '^TestCompat$$/($(COMPAT))' -v ./exec/wasm

# The same counts and the same bits on the other architecture, by emulation (Debian: qemu-user-static).
QEMU_ARM64 ?= qemu-aarch64-static
test-arm64:
	GOARCH=arm64 go test -exec $(QEMU_ARM64) -count=1 -timeout 5m -run 'Alike|Golden|NaN|Payload|ByHand|SameOnBoth' ./exec/wasm/meter

# 200 processes killed under load, on both sides of ten markets, and the books held against each other after each.
test-kill: examples
	go test -count=10 -timeout 60m -v -run '^TestKillAnyProcessDuringAJob$$' ./cmd/p3

race:
	CGO_ENABLED=1 go test -race -short $(RACE)

lint:
	go mod tidy -diff
	test -z "$$(gofmt -l cmd exec ledger market node tui)"
	go vet ./...
	go run $(STATICCHECK) ./...

bench:
	go test -run '^$$' -bench . -timeout 60m ./...
	go test -run EfficiencyOf -efficiency -v ./node/sim

fuzz:
	for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit; done; \
	done

clean:
	rm -f p3 $(foreach e,$(EXAMPLES),exec/examples/$(e)/$(e).wasm)
