//! `GET /healthz`: whether a linearizable read could be served now.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use quorate::Read;
use serde_json::json;

use super::{
    app::{App, mark},
    error::{self, ApiError},
    params::Params,
};

/// Serves a linearizable read and says whether that worked.
pub(crate) async fn healthz(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let params = Params::of(request.uri(), &["timeout_ms"])?;
    app.joined()?;
    let snapshot = app.read(Read::Linearizable, params.timeout()?).await?;
    let mut response = error::json(StatusCode::OK, &json!({"ok": true}));
    mark(&mut response, app.place(snapshot.cursor()));
    Ok(response)
}
