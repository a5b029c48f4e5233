//! What travels in a connection's close, and what a link's end is called here.
//!
//! One table for both directions. The numbers of the core's [`CloseCode`] are the wire's numbers;
//! 0 belongs to iroh, which closes with it when an endpoint or the last handle of a connection
//! goes; the transport's own numbers start at [`OWN`], since the core does not decide on them.

use iroh::endpoint::{ConnectionError, VarInt};
use quorate_core::CloseCode;

use crate::limits::REASON;

/// First number of the transport's own codes.
const OWN: u32 = 64;

/// Why a link is closed: what the core decides, and what only the transport sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Closing {
    /// For a reason that the core knows.
    Core(CloseCode),
    /// Too many strangers are at the door.
    Crowded,
    /// A task of ours failed; the peer did nothing wrong.
    Internal,
    /// Nobody means anything by it: the link is gone, as if the network or the process were.
    Torn,
}

impl Closing {
    /// Returns the number that travels to the peer.
    pub(crate) fn number(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Core(code) => code as u32,
            Self::Crowded => OWN,
            Self::Internal => OWN + 1,
            Self::Torn => OWN + 2,
        })
    }

    /// Returns the core's code, if it is one.
    pub(crate) fn core(self) -> Option<CloseCode> {
        match self {
            Self::Core(code) => Some(code),
            Self::Crowded | Self::Internal | Self::Torn => None,
        }
    }
}

/// Reads a close that came from the peer, or happened to the connection: the core's code if the
/// peer gave one, and words for a person.
pub(crate) fn read(error: &ConnectionError) -> (Option<CloseCode>, String) {
    let ConnectionError::ApplicationClosed(close) = error else {
        return (None, lost(error));
    };
    said(close.error_code, &String::from_utf8_lossy(&close.reason))
}

/// Reads what the peer gave as it closed a link: the core's code if it is one, and words for a
/// person.
pub(crate) fn said(number: VarInt, said: &str) -> (Option<CloseCode>, String) {
    let number = u32::try_from(number.into_inner()).unwrap_or(u32::MAX);
    let code = CloseCode::from_number(number);
    let reason = match (code, number) {
        _ if !said.is_empty() => format!("the peer closed the link: {said}"),
        (Some(code), _) => format!("the peer closed the link: {}", code.reason()),
        (None, 0) => "the peer's endpoint is gone".to_owned(),
        (None, OWN) => "the peer has too many strangers at its door".to_owned(),
        (None, number) => format!("the peer closed the link with unknown code {number}"),
    };
    (code, reason)
}

/// Returns as much of a reason as may travel.
pub(crate) fn clip(reason: &str) -> &[u8] {
    let mut end = reason.len().min(REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason.as_bytes()[..end]
}

fn lost(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "the peer has not been heard for too long".to_owned(),
        ConnectionError::Reset => {
            "the peer does not know the connection: it was restarted".to_owned()
        }
        ConnectionError::LocallyClosed => "the endpoint of this peer is closed".to_owned(),
        error => format!("the connection failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::endpoint::ApplicationClose;

    fn closed(number: u32, reason: &str) -> ConnectionError {
        ConnectionError::ApplicationClosed(ApplicationClose {
            error_code: VarInt::from_u32(number),
            reason: reason.as_bytes().to_vec().into(),
        })
    }

    #[test]
    fn the_cores_codes_come_back_as_themselves_and_leave_room() {
        for number in 0..OWN {
            let Some(code) = CloseCode::from_number(number) else {
                continue;
            };
            let sent = Closing::Core(code).number().into_inner() as u32;
            assert_eq!(read(&closed(sent, "")).0, Some(code));
            assert_ne!(sent, 0, "0 is iroh's");
        }
        assert_eq!(CloseCode::from_number(OWN), None);
        assert_eq!(CloseCode::from_number(OWN + 1), None);
        assert_eq!(CloseCode::from_number(OWN + 2), None);
    }

    #[test]
    fn an_unknown_code_is_no_code_of_ours() {
        let (code, reason) = read(&closed(4_000, ""));
        assert_eq!(code, None);
        assert!(reason.contains("4000"));
        assert_eq!(read(&closed(0, "")).0, None);
    }

    #[test]
    fn a_reason_is_cut_at_a_character() {
        let long = "\u{e9}".repeat(REASON);
        assert!(clip(&long).len() <= REASON);
        assert!(std::str::from_utf8(clip(&long)).is_ok());
    }
}
