//! `GET /v1/digest`: the digest of what this peer holds, to be compared with another's.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;

use super::{
    app::{App, mark},
    error::{ApiError, json},
    params::Params,
    status::CursorBody,
};

#[derive(Debug, Serialize)]
struct DigestBody {
    cursor: CursorBody,
    items: u64,
    digest: String,
}

/// Computes the digest.
pub(crate) async fn digest(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    Params::of(request.uri(), &[])?;
    app.joined()?;
    let found = app.group.digest().await;
    let found = found.map_err(|error| ApiError::of_read(&error, None))?;
    let mut response = json(
        StatusCode::OK,
        &DigestBody {
            cursor: found.cursor.into(),
            items: found.items,
            digest: found.digest.to_string(),
        },
    );
    mark(&mut response, app.place(found.cursor));
    Ok(response)
}
