//! What a peer answered, and what that means for the command.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{Response, StatusCode, body::Incoming, header::HeaderMap};
use serde::{Deserialize, de::DeserializeOwned};

use crate::outcome::{Code, Failure};

/// A whole answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// Its body.
    pub(super) body: Bytes,
}

/// The body of an error.
#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: String,
    message: String,
    hint: String,
}

/// Takes the rest of an answer, of at most `most` bytes.
pub(super) async fn take(response: Response<Incoming>, most: usize) -> Result<Answer, Failure> {
    let (head, mut body) = response.into_parts();
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| foreign(&format!("it broke off: {error}")))?;
        if let Some(data) = frame.data_ref() {
            if gathered.len() + data.len() > most {
                return Err(foreign(&format!("it is longer than {most} bytes")));
            }
            gathered.extend_from_slice(data);
        }
    }
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: gathered.freeze(),
    })
}

impl Answer {
    /// Returns the answer if it is one of success, and what failed otherwise.
    pub(super) fn judged(self) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let Ok(body) = serde_json::from_slice::<ErrorBody>(&self.body) else {
            return Err(foreign(&format!("its status is {}", self.status)));
        };
        let code = match self.status {
            StatusCode::NOT_FOUND if body.error == "not_found" => Code::NotFound,
            StatusCode::SERVICE_UNAVAILABLE => Code::NoQuorum,
            StatusCode::GATEWAY_TIMEOUT => Code::Timeout,
            StatusCode::GONE => Code::Damaged,
            StatusCode::INTERNAL_SERVER_ERROR if body.error == "foreign_data" => Code::Damaged,
            _ => Code::Failed,
        };
        Err(Failure::new(code, body.message, body.hint))
    }

    /// Returns where the answer stands in the log.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.headers.get("quorate-cursor")?.to_str().ok()
    }

    /// Reads the body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| foreign(&error.to_string()))
    }
}

/// What answered is no peer of this version.
fn foreign(why: &str) -> Failure {
    Failure::new(
        Code::Failed,
        format!("the answer is not that of a peer: {why}"),
        "check the address, and that the peer runs the same release",
    )
}
