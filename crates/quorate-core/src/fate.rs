//! What has become of a history, as far as its entries were applied.
//!
//! A history without user commands may be given up for another one of the same group; one with
//! them never. Which it is must be the same for every member, so it is decided by the log alone:
//! the first command and the first dissolve entry race, and whichever comes first in the log has
//! won for ever. What comes after a dissolve that took effect changes nothing any more.

use crate::{entry::Body, id::GenesisId};

/// What has become of a history.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Fate {
    /// No user command was applied.
    #[default]
    Empty,
    /// A user command was applied: this history stays.
    Used,
    /// It was given up for another history; no command was ever applied.
    Dissolved {
        /// The history that its members go to.
        into: GenesisId,
    },
}

impl Fate {
    /// Returns what becomes of the history by an entry that is applied.
    #[must_use]
    pub fn after(self, body: &Body) -> Self {
        match (self, body) {
            (Self::Empty, Body::Dissolve { into }) => Self::Dissolved { into: *into },
            (
                Self::Empty,
                Body::Noop
                | Body::Configuration(_)
                | Body::Register { .. }
                | Body::Marker(_)
                | Body::Upgrade { .. },
            ) => Self::Empty,
            (Self::Empty, _) => Self::Used,
            (fate, _) => fate,
        }
    }

    /// Tells whether a user command was applied.
    pub fn is_used(self) -> bool {
        self == Self::Used
    }

    /// Returns the history that this one was given up for, if it was.
    pub fn dissolved_into(self) -> Option<GenesisId> {
        match self {
            Self::Dissolved { into } => Some(into),
            Self::Empty | Self::Used => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::time::Wall;

    #[test]
    fn whichever_of_a_command_and_a_dissolve_comes_first_decides() {
        let into = GenesisId([1; 16]);
        let dissolve = Body::Dissolve { into };
        let command = Body::Command(Bytes::new());
        let quiet = Fate::Empty
            .after(&Body::Noop)
            .after(&Body::Register { at: Wall(1) });
        let quiet = quiet.after(&Body::Upgrade { version: 2 });
        assert_eq!(quiet, Fate::Empty);
        assert_eq!(quiet.after(&command).after(&dissolve), Fate::Used);
        let gone = quiet.after(&dissolve);
        assert_eq!(gone, Fate::Dissolved { into });
        let other = Body::Dissolve {
            into: GenesisId([2; 16]),
        };
        assert_eq!(gone.after(&command).after(&other), gone);
    }
}
