export CGO_ENABLED ?= 0

.PHONY: build test
build:
	go build -o p3 ./cmd/p3
test:
	go test ./...
