//! Whole Quorate clusters in one deterministic thread, with faults, checkers and a seed.
