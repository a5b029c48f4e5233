//! `POST /v1/clients`: registering a client, whose named requests are applied once; and the
//! header that names them.
//!
//! ```text
//! POST /v1/clients                                  -> {"client":"GENESIS/INDEX"}
//! PUT  /v1/kv/k   Quorate-Request: GENESIS/INDEX/1  -> applied
//! PUT  /v1/kv/k   Quorate-Request: GENESIS/INDEX/1  -> the same answer, and nothing else
//! ```
//!
//! The second may go to any peer, also after the first one was lost. Where the client is not known
//! any more, or has said by OPEN that it would not ask again, the answer is 410: this request has
//! changed nothing.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use quorate::{ClientError, RequestName};
use serde_json::json;
use tokio::time::timeout;

use super::{
    app::App,
    error::{self, ApiError},
    params::Params,
};

/// Registers a client.
pub(crate) async fn clients(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let params = Params::of(request.uri(), &["timeout_ms"])?;
    app.joined()?;
    let registered = timeout(params.timeout()?, app.group.client()).await;
    let client = match registered.unwrap_or(Err(ClientError::Unknown)) {
        Ok(client) => client,
        Err(ClientError::Busy) => return Err(ApiError::busy()),
        Err(ClientError::Unavailable) => return Err(ApiError::no_quorum(app.why())),
        Err(ClientError::Closed) => return Err(ApiError::stopping()),
        Err(error) => {
            return Err(ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                "unknown",
                error.to_string(),
                "try again: a client that is never used does no harm",
            ));
        }
    };
    let client = client.id().to_string();
    Ok(error::json(StatusCode::OK, &json!({"client": client})))
}

/// Returns the name of a request, if it has one.
pub(crate) fn name(headers: &HeaderMap) -> Result<Option<RequestName>, ApiError> {
    let mut names = headers.get_all("quorate-request").iter();
    let Some(text) = names.next() else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(text.as_bytes());
    let name = text.parse::<RequestName>();
    match (name, names.next()) {
        (Ok(name), None) => Ok(Some(name)),
        (Ok(_), Some(_)) => Err(ApiError::malformed(
            "the request has two names",
            "send the header Quorate-Request once",
        )),
        (Err(error), _) => Err(ApiError::malformed(
            format!("{text:?} is no name of a request: {error}"),
            "POST /v1/clients gives GENESIS/INDEX; put your own number behind it, from 1 on: \
             GENESIS/INDEX/SEQ, and /OPEN if lower ones may be sent again",
        )),
    }
}
