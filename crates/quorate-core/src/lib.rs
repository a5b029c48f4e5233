//! Vocabulary and sans-IO protocols of Quorate.
