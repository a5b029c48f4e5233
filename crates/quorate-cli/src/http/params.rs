//! What stands in a request's address: the key in the path, and the parameters behind the `?`.
//!
//! Unknown parameters are refused: `?consistancy=local` must not silently mean something else.

use std::time::Duration;

use axum::http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use quorate::{Position, Read};

use crate::limits::{LONGEST_TIMEOUT, TIMEOUT};

use super::{app::App, error::ApiError};

/// The parameters of a request, decoded, each at most once.
#[derive(Debug)]
pub(crate) struct Params {
    pairs: Vec<(String, Vec<u8>)>,
}

impl Params {
    /// Reads the parameters of `uri`, of which only those in `known` may be there.
    pub(crate) fn of(uri: &Uri, known: &[&str]) -> Result<Self, ApiError> {
        let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
        let parts = uri.query().unwrap_or_default().split('&');
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = String::from_utf8_lossy(&decoded(name)).into_owned();
            if !known.contains(&name.as_str()) {
                return Err(ApiError::malformed(
                    format!("unknown parameter {name:?}"),
                    format!("this address takes: {}", known.join(", ")),
                ));
            }
            if pairs.iter().any(|(seen, _)| *seen == name) {
                return Err(ApiError::malformed(
                    format!("the parameter {name:?} is given twice"),
                    "give it once",
                ));
            }
            pairs.push((name, decoded(value)));
        }
        Ok(Self { pairs })
    }

    /// Returns the bytes of a parameter.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let found = self.pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_slice())
    }

    fn text(&self, name: &str) -> Option<String> {
        let bytes = self.bytes(name)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Returns how long the operation may take.
    pub(crate) fn timeout(&self) -> Result<Duration, ApiError> {
        let Some(text) = self.text("timeout_ms") else {
            return Ok(TIMEOUT);
        };
        let most = LONGEST_TIMEOUT.as_millis();
        match text.parse() {
            Ok(ms) if (1..=most).contains(&u128::from(ms)) => Ok(Duration::from_millis(ms)),
            _ => Err(ApiError::malformed(
                format!("timeout_ms={text:?} is no number of milliseconds"),
                format!("use a number from 1 to {most}, such as timeout_ms=5000"),
            )),
        }
    }

    /// Returns how fresh a read must be.
    pub(crate) fn read(&self, app: &App) -> Result<Read, ApiError> {
        let text = self.text("consistency");
        match text.as_deref() {
            None | Some("linearizable") => Ok(Read::Linearizable),
            Some("local") => Ok(Read::Local),
            Some(text) => match text.strip_prefix("at_least:") {
                Some(cursor) => Ok(Read::AtLeast(of_this_history(app, cursor)?.cursor)),
                None => Err(ApiError::malformed(
                    format!("unknown consistency {text:?}"),
                    "use consistency=linearizable, =local, or =at_least:GENESIS/TERM/INDEX with \
                     the Quorate-Cursor of an answer",
                )),
            },
        }
    }

    /// Returns the position that a stream of changes is to begin after.
    pub(crate) fn from(&self, app: &App) -> Result<Option<Position>, ApiError> {
        self.text("from")
            .map(|text| of_this_history(app, &text))
            .transpose()
    }
}

/// Reads a position and checks that it is one of the group's present history.
pub(crate) fn of_this_history(app: &App, text: &str) -> Result<Position, ApiError> {
    let position: Position = text.parse().map_err(|error| {
        ApiError::malformed(
            format!("{text:?} is no cursor: {error}"),
            "a cursor is GENESIS/TERM/INDEX, as in the header Quorate-Cursor of an answer",
        )
    })?;
    let here = app.joined()?;
    if position.genesis != here.genesis {
        return Err(gone(
            format!(
                "the cursor is of another history: this group's is {}",
                here.genesis
            ),
            "start over from the Quorate-Cursor of this answer",
        ));
    }
    Ok(position)
}

/// What was asked for is no longer there.
pub(crate) fn gone(message: impl Into<String>, hint: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::GONE, "gone", message, hint)
}

/// Returns the key in the path: what stands between `/v1/kv/` and `tail`, percent-decoded.
pub(crate) fn key(uri: &Uri, tail: &str) -> Result<Vec<u8>, ApiError> {
    let path = uri.path().strip_prefix("/v1/kv/").unwrap_or_default();
    let path = path.strip_suffix(tail).unwrap_or(path);
    let bad_escape = path.split('%').skip(1).any(|rest| {
        let digits = rest.as_bytes().get(..2);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if path.is_empty() || bad_escape {
        return Err(ApiError::malformed(
            if path.is_empty() {
                "there is no key in the address"
            } else {
                "the key in the address is not percent-encoded as it should be"
            },
            "a key is one path segment: write %2F for /, %25 for %, %20 for a blank",
        ));
    }
    Ok(percent_decode_str(path).collect())
}

/// Undoes the encoding of a parameter: `+` is a blank, `%2B` a plus.
fn decoded(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_any_bytes_of_one_segment() {
        let key = |path: &str, tail| key(&path.parse().unwrap(), tail).ok();
        assert_eq!(key("/v1/kv/a%2Fb%20c%ff", ""), Some(b"a/b c\xff".to_vec()));
        assert_eq!(key("/v1/kv/cas/cas", "/cas"), Some(b"cas".to_vec()));
        assert_eq!(key("/v1/kv/%00", ""), Some(vec![0]));
        for broken in [
            "/v1/kv/",
            "/v1/kv/%",
            "/v1/kv/%2",
            "/v1/kv/%zz",
            "/v1/kv/a%2gb",
        ] {
            assert_eq!(key(broken, ""), None, "{broken}");
        }
    }

    #[test]
    fn parameters_are_known_decoded_and_given_once() {
        let of = |query: &str| Params::of(&format!("/x?{query}").parse().unwrap(), &["a", "b"]);
        assert_eq!(
            of("a=1+%2B%ff&b=").unwrap().bytes("a"),
            Some(&b"1 +\xff"[..])
        );
        assert_eq!(of("b").unwrap().bytes("b"), Some(&b""[..]));
        assert_eq!(of("").unwrap().bytes("a"), None);
        assert!(of("c=1").is_err());
        assert!(of("a=1&a=1").is_err());
    }
}
