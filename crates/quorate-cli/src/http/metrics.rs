//! `GET /metrics`: what the peer counts, in the OpenMetrics text format.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::Response,
};

use super::{app::App, error::ApiError, params::Params};

/// Answers with all metrics of this peer and of its endpoint.
pub(crate) async fn metrics(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    Params::of(request.uri(), &[])?;
    let text = app.net.metrics().openmetrics();
    let mut response = Response::new(Body::from(text));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
