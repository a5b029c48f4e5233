# Names that people guess; `just` alone lists them. Each is one command that works without just.

alias sim := simulate

[private]
default:
    @just --list

# Build everything
build:
    cargo build --workspace --all-targets

# Run all tests, as README.md says it
test:
    cargo test --workspace

# What to run between two edits: formatting, lints, quick tests
quick:
    .ci/run quick

# Everything that must hold before a change goes in
ci:
    .ci/run

# Lints, warnings as errors
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Format all code
fmt:
    cargo fmt --all

# The reference of the libraries, in target/doc
doc:
    cargo doc --workspace --no-deps --lib

# The book, in book/build (needs mdbook)
book:
    mdbook build book

# Write the book's pages that are made from the program: its help, its routes
reference:
    QUORATE_WRITE_BOOK=1 cargo test -p quorate-cli --test book
    QUORATE_WRITE_BOOK=1 cargo test -p bank --test run

# The main job: five peers, a sixth comes late
demo *ARGS:
    cargo run --release --bin quorate -- demo {{ARGS}}

# One peer of a group of keys and values; start it in three terminals
up *ARGS:
    cargo run --release --bin quorate -- up {{ARGS}}

# Ask the peers that run: put, get, watch, status, ...
ask *ARGS:
    cargo run --release --bin quorate -- {{ARGS}}

# A chat in this terminal: `just chat ada`
chat NAME *ARGS:
    cargo run -p chat -- --name {{NAME}} {{ARGS}}

# Whole clusters from a seed, with faults
simulate *ARGS:
    cargo run --release --bin quorate -- simulate {{ARGS}}

# Peers with data directories that are killed and started again, over and over: `just torture CYCLES=1000`
torture $QUORATE_TORTURE="CYCLES=25":
    cargo test --release -p quorate-cli --test torture -- restarts

# Plant each bug that can be planted and see what finding it costs
canaries *ARGS:
    cargo run --release -p quorate-sim --example canaries -- {{ARGS}} shrink=300

# Quorate beside the raw transport
bench *ARGS:
    cargo run --release --manifest-path bench/Cargo.toml -- {{ARGS}}

# Advisories, licences, sources (needs cargo-deny)
deny:
    cargo deny check
