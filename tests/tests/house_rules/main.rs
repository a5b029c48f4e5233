//! The rules of the house, as tests: a rule that nothing enforces is no rule.
//!
//! Each test reads the repository as it lies on disk, collects every violation, and fails once with
//! all of them and the way out. `cargo metadata` is asked offline, so the tests need no network.
//! The scans work on text with comments and strings blanked out; they are a belt to the lints of
//! clippy, which know types but see one build configuration at a time.

mod bans;
mod commands;
mod dependencies;
mod examples;
mod figures;
mod licences;
mod links;
mod places;
mod repository;
mod shape;
mod snippets;
mod source;
mod words;
