//! `/v1/kv/{key}`: reading, writing and removing one value.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;

use crate::{
    blob::{Blob, KV},
    limits::BODY,
};

use super::{
    app::{App, mark},
    body, clients,
    error::{ApiError, json},
    params::{self, Params},
};

/// What a write answers.
#[derive(Debug, Serialize)]
struct Written {
    /// Where the write stands in the log.
    cursor: Option<String>,
    /// Whether there was a value before.
    existed: bool,
}

/// Reads a value: its bytes, as they are.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let key = params::key(request.uri(), "")?;
    let params = Params::of(request.uri(), &["consistency", "timeout_ms"])?;
    let read = params.read(&app)?;
    let snapshot = app.read(read, params.timeout()?).await?;
    let position = app.place(snapshot.cursor());
    let value = snapshot
        .get::<Vec<u8>, Blob>(KV, key.as_slice())
        .map_err(|error| ApiError::of_read(&error, None))?;
    drop(snapshot);
    let mut response = match value {
        Some(Blob(bytes)) => {
            let mut response = Response::new(Body::from(bytes));
            let kind = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        None => not_found(&key),
    };
    mark(&mut response, position);
    Ok(response)
}

/// Writes a value: the body, as it is.
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let key = params::key(request.uri(), "")?;
    let params = Params::of(request.uri(), &["timeout_ms"])?;
    let timeout = params.timeout()?;
    let name = clients::name(request.headers())?;
    let value = Blob(body::take(request.into_body(), BODY).await?);
    let done = app.write(app.kv.insert(key, value), name, timeout).await?;
    Ok(written(&app, done.cursor, done.outcome.is_some()))
}

/// Removes a value, if there is one.
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let key = params::key(request.uri(), "")?;
    let params = Params::of(request.uri(), &["timeout_ms"])?;
    let timeout = params.timeout()?;
    let name = clients::name(request.headers())?;
    let done = app.write(app.kv.remove(key), name, timeout).await?;
    Ok(written(&app, done.cursor, done.outcome.is_some()))
}

fn written(app: &App, cursor: quorate::Cursor, existed: bool) -> Response {
    let position = app.place(cursor);
    let mut response = json(
        StatusCode::OK,
        &Written {
            cursor: position.map(|position| position.to_string()),
            existed,
        },
    );
    mark(&mut response, position);
    response
}

fn not_found(key: &[u8]) -> Response {
    let key = String::from_utf8_lossy(key);
    axum::response::IntoResponse::into_response(ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is no key {key:?}"),
        "write it first: `quorate put KEY VALUE`",
    ))
}
