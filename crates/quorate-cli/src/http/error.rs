//! What a request is answered when it cannot be served: a status code, and a body that says what
//! happened and what to do.
//!
//! ```text
//! {"error":"no_quorum","message":"...","hint":"..."}
//! ```
//!
//! The code says whether anything was changed: 504 means that nobody knows; every other one means
//! that this request changed nothing.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use quorate::{Cursor, ReadError, WriteError};
use serde::Serialize;

/// A request that was not served.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

/// The body of an error.
#[derive(Clone, Debug, Serialize)]
struct ErrorBody {
    /// The kind, as one word for programs.
    error: &'static str,
    /// What happened.
    message: String,
    /// What to do about it.
    hint: String,
}

impl ApiError {
    /// Makes an error of the kind `error`.
    pub(crate) fn new(
        status: StatusCode,
        error: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            status,
            body: ErrorBody {
                error,
                message: message.into(),
                hint: hint.into(),
            },
        }
    }

    /// The request itself is wrong.
    pub(crate) fn malformed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message, hint)
    }

    /// What was sent is larger than `most` bytes.
    pub(crate) fn too_large(most: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is larger than {most} bytes"),
            "split the value over several keys",
        )
    }

    /// Too much is under way.
    pub(crate) fn busy() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "busy",
            "too much is under way: the request was surely not applied",
            "try again in a moment",
        )
    }

    /// There is no leader or no quorum, as far as this peer can see; `why` says more, if known.
    pub(crate) fn no_quorum(why: Option<String>) -> Self {
        let message = "no leader or no quorum until the deadline: nothing was changed";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_quorum",
            why.map_or_else(|| message.to_owned(), |why| format!("{message}; {why}")),
            "run `quorate status` to see who is missing, then try again",
        )
    }

    /// The state here has not come as far as a read asks for.
    pub(crate) fn not_here_yet(asked: Cursor, applied: Cursor) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "not_here_yet",
            format!("this peer has applied up to cursor {applied}, not {asked}, at the deadline"),
            "check the cursor, give it more time (timeout_ms), or ask another peer",
        )
    }

    /// Returns the status code.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// This peer is stopping.
    pub(crate) fn stopping() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "this peer is stopping: nothing was changed",
            "ask another peer",
        )
    }

    /// What is stored is of another type than this interface reads and writes.
    fn foreign(reason: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "foreign_data",
            format!("what is stored is not plain bytes: {reason}"),
            "another application uses the map \"kv\" of this group with other types: use another \
             group, or read it with that application",
        )
    }

    /// A read was not answered.
    pub(crate) fn of_read(error: &ReadError, why: Option<String>) -> Self {
        match error {
            ReadError::Busy => Self::busy(),
            ReadError::Unavailable | ReadError::TooOld => {
                Self::no_quorum(why.or_else(|| Some(error.to_string())))
            }
            ReadError::Closed => Self::stopping(),
            ReadError::Decoding { reason } => Self::foreign(reason),
            _ => Self::unexpected(error),
        }
    }

    /// A write was not committed, or nobody knows.
    pub(crate) fn of_write<I>(error: &WriteError<I>, why: Option<String>) -> Self
    where
        WriteError<I>: std::fmt::Display,
    {
        match error {
            WriteError::Busy { .. } => Self::busy(),
            WriteError::Unavailable { .. } => Self::no_quorum(why),
            WriteError::Closed { .. } => Self::stopping(),
            WriteError::Superseded { .. } => Self::new(
                StatusCode::CONFLICT,
                "superseded",
                error.to_string(),
                "send it again if it is still wanted",
            ),
            WriteError::Expired { .. } => Self::new(
                StatusCode::GONE,
                "client_expired",
                error.to_string(),
                "register a client anew with POST /v1/clients, and read before writing again",
            ),
            WriteError::Dropped { .. } => Self::new(
                StatusCode::GONE,
                "answer_dropped",
                error.to_string(),
                "read what is there; a later request needs a higher number",
            ),
            WriteError::Unknown => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "unknown",
                error.to_string(),
                "read before writing again, or name requests with Quorate-Request so that they \
                 can be sent twice",
            ),
            WriteError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                error.to_string(),
                "split the value over several keys",
            ),
            WriteError::Refused(refusal) => Self::malformed(
                format!("the write was refused: {refusal}"),
                "use a shorter key",
            ),
            WriteError::Decoding { reason, .. } => Self::foreign(reason),
            _ => Self::unexpected(error),
        }
    }

    fn unexpected(error: &impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unexpected",
            error.to_string(),
            "read before writing again, and run `quorate status`",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        json(self.status, &self.body)
    }
}

/// Answers with one JSON object, on one line.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = serde_json::to_string(body).expect("these types have only string keys");
    text.push('\n');
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_write_says_what_became_of_it() {
        let value = 0;
        let cases: [(WriteError<u8>, u16, &str); 10] = [
            (WriteError::Busy { value }, 429, "busy"),
            (WriteError::Unavailable { value }, 503, "no_quorum"),
            (WriteError::Superseded { value }, 409, "superseded"),
            (WriteError::Closed { value }, 503, "stopping"),
            (WriteError::Expired { value }, 410, "client_expired"),
            (WriteError::Dropped { value }, 410, "answer_dropped"),
            (WriteError::Unknown, 504, "unknown"),
            (WriteError::TooLarge, 413, "too_large"),
            (
                WriteError::Refused(quorate::WriteRefusal::Key),
                400,
                "malformed",
            ),
            (
                WriteError::Encoding {
                    reason: "it is strange".to_owned(),
                },
                500,
                "unexpected",
            ),
        ];
        for (error, status, kind) in cases {
            let answer = ApiError::of_write(&error, None);
            assert_eq!(answer.status().as_u16(), status, "{error:?}");
            assert_eq!(answer.body.error, kind);
            assert_ne!(answer.body.hint, "");
            // By this request, or by an earlier one of its name.
            let perhaps_applied = matches!(status, 504 | 410);
            assert_eq!(perhaps_applied, !error.is_surely_not_applied(), "{error:?}");
        }
    }

    #[test]
    fn the_status_of_a_read_says_why_there_is_no_answer() {
        let reason = "of another type".to_owned();
        let cases = [
            (ReadError::Busy, 429),
            (ReadError::Unavailable, 503),
            (ReadError::Closed, 503),
            (ReadError::Decoding { reason }, 500),
        ];
        for (error, status) in cases {
            let answer = ApiError::of_read(&error, Some("two are missing".to_owned()));
            assert_eq!(answer.status().as_u16(), status, "{error:?}");
        }
    }
}
