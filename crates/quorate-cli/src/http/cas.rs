//! `POST /v1/kv/{key}/cas`: replacing a value only if it is the expected one.
//!
//! ```text
//! {"expect":"d29ybGQ=","value":null}  ->  {"swapped":true,"current":null}
//! ```
//!
//! Values are base64, and `null` is no value. `current` is the value after the command. The type
//! must be said to be JSON, which a form on a foreign web page cannot do.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{blob::Blob, limits::CAS_BODY};

use super::{
    app::{App, mark},
    body, clients,
    error::{ApiError, json},
    params::{self, Params},
};

/// What is to be compared and set. Both must be there: a `value` forgotten is not a removal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(deserialize_with = "present")]
    expect: Option<String>,
    #[serde(deserialize_with = "present")]
    value: Option<String>,
}

#[derive(Debug, Serialize)]
struct Exchanged {
    swapped: bool,
    current: Option<String>,
}

/// Compares and sets.
pub(crate) async fn cas(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let key = params::key(request.uri(), "/cas")?;
    let params = Params::of(request.uri(), &["timeout_ms"])?;
    let timeout = params.timeout()?;
    let name = clients::name(request.headers())?;
    check_type(request.headers())?;
    let body = body::take(request.into_body(), CAS_BODY).await?;
    let wish: Wish = serde_json::from_slice(&body).map_err(|error| {
        ApiError::malformed(format!("the body is not what it should be: {error}"), SHAPE)
    })?;
    let expect = value("expect", wish.expect)?;
    let value = value("value", wish.value)?;
    let write = app.kv.compare_exchange(key, expect, value);
    let done = app.write(write, name, timeout).await?;
    let current = done.outcome.current;
    let mut response = json(
        StatusCode::OK,
        &Exchanged {
            swapped: done.outcome.swapped,
            current: current.map(|Blob(bytes)| BASE64.encode(&bytes)),
        },
    );
    mark(&mut response, app.place(done.cursor));
    Ok(response)
}

const SHAPE: &str = "send {\"expect\":BASE64|null,\"value\":BASE64|null}";

/// Checks that a body is said to be JSON.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::malformed(
        format!("the body is said to be {kind:?}, not JSON"),
        "send the header `Content-Type: application/json`",
    ))
}

fn value(name: &str, text: Option<String>) -> Result<Option<Blob>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    match BASE64.decode(text.as_bytes()) {
        Ok(bytes) => Ok(Some(Blob(bytes.into()))),
        Err(error) => Err(ApiError::malformed(
            format!("{name:?} is not base64: {error}"),
            "use the standard alphabet with padding, such as \"d29ybGQ=\"",
        )),
    }
}

/// Takes a value or `null`, but not nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}
