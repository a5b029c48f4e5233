//! The documentation's Rust snippets, as tests: one that does not compile is not documentation.

/// The first thing a newcomer reads.
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;

/// What every call guarantees.
#[doc = include_str!("../../book/src/consistency.md")]
#[derive(Debug)]
pub struct Consistency;

/// From a clone to a program of one's own.
#[doc = include_str!("../../book/src/quick-start.md")]
#[derive(Debug)]
pub struct QuickStart;
