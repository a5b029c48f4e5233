# Names that people guess; `just` alone lists them. Each is one command that works without just.

[private]
default:
    @just --list

# Build everything
build:
    cargo build --workspace --all-targets

# Run all tests, as README.md says it
test:
    cargo test --workspace

# Everything that must hold before a change goes in
ci:
    .ci/run

# The part of it for between two edits
quick:
    .ci/run quick

# Lints, warnings as errors
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Format all code
fmt:
    cargo fmt --all

# The reference, in target/doc
doc:
    cargo doc --workspace --no-deps --lib

# The book, in book/build (needs mdbook)
book:
    mdbook build book

# Five peers, a sixth comes late
demo *ARGS:
    cargo run --release --bin quorate -- demo {{ARGS}}

# Whole clusters from a seed, with faults
simulate *ARGS:
    cargo run --release --bin quorate -- simulate {{ARGS}}

# Quorate beside the raw transport
bench *ARGS:
    cargo run --release --manifest-path bench/Cargo.toml -- {{ARGS}}

# Advisories, licences, sources (needs cargo-deny)
deny:
    cargo deny check
