//! The documentation's Rust snippets, as tests: one that does not compile is not documentation.

/// The first thing a newcomer reads.
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
