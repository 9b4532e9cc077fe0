# make run     a picture, then the web page        make test    what must pass before a change lands
# make         bin/waggle                          make check   the same, on a machine known to be ready
.PHONY: api-fuzz fuzz all wasm run test check conformance chaos soak bench bench-full bench-peers generate train doctor references

all: wasm
	go build -trimpath -ldflags='-s -w' -o bin/waggle ./cmd/waggle

# The browser's program, which bin/waggle embeds.
wasm:
	@scripts/wasm

run:
	@scripts/driver
	@$(MAKE) --no-print-directory all
	@scripts/first-picture
	@exec bin/waggle serve $(SERVE)

test:
	@scripts/driver
	@scripts/browser
	@scripts/nginx
	@$(MAKE) --no-print-directory check

check: wasm
	@scripts/check

# The 40 checks of the protocol between clients, queens, hives and workers, as a table; docs/conformance.md.
conformance: wasm
	@scripts/driver
	@scripts/conformance

# Kills, full disks, damaged files, a lost network: what jobs must survive. Up to half an hour; docs/chaos.md.
chaos: wasm
	@scripts/driver
	@scripts/chaos

# An hour under a steady mix of clients: nothing may grow. SOAK=10m make soak for ten minutes.
soak: wasm
	@scripts/driver
	@scripts/soak

# What the OpenAPI documents allow, and what they do not, sent to a worker and a queen. The first time it downloads schemathesis.
api-fuzz: all
	@scripts/driver
	@scripts/api-fuzz

# Every parser of foreign bytes, fed with what nobody thought of. FUZZTIME=1h FUZZ='weights\.' make fuzz for an hour on each of some.
fuzz: wasm
	@scripts/fuzz

# A whole picture, then every kernel of a family at shapes of Stable Diffusion 1.5. KERNELS=tiled on a GPU.
KERNELS ?= subgroup
bench: all
	bin/waggle bench
	go test -timeout 1h -run '^$$' -bench 'Kernels/$(KERNELS)' -benchtime 5x ./internal/nn

# Random networks of the full sizes of Stable Diffusion 1.5, 2.1 and XL: time and memory of a picture of 512×512.
bench-full: all
	@scripts/driver
	@scripts/bench-full

# The same picture by other programs: downloads them, so it is no part of the tests.
bench-peers: all
	@scripts/bench-peers

# Go code from templ components, and what the OpenAPI documents say of types from their comments.
generate:
	go tool templ generate -path web
	go generate ./internal/openapi

# The built-in model from nothing: about an hour and a half on two cores. TRAIN=--scale\ 0.01 tries it in a minute.
train:
	@scripts/train $(TRAIN)

# testdata/references: what diffusers makes of small random models. Downloads torch; a minute on one core.
references:
	@scripts/references/run $(REFERENCES)

doctor: all
	@bin/waggle doctor
