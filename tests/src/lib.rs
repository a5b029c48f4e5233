//! Helpers shared by the end-to-end tests and by the tests of the examples.

#![forbid(unsafe_code)]

pub mod terminal;
pub mod transcript;

#[cfg(doctest)]
mod snippets;
