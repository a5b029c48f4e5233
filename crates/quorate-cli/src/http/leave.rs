//! `POST /v1/leave`: giving up this peer's seat. Once that is done, the peer stops.
//!
//! ```text
//! {"dissolve":false}  ->  {"left":true}
//! ```
//!
//! The last voter is refused, since the group ends with it; `dissolve` says that this is meant.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use quorate::LeaveError;
use serde::Deserialize;
use serde_json::json;

use crate::limits::SMALL_BODY;

use super::{
    app::App,
    body,
    cas::check_type,
    error::{self, ApiError},
    params::Params,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    dissolve: bool,
}

/// Gives up the seat, and has the peer stop.
pub(crate) async fn leave(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let params = Params::of(request.uri(), &["timeout_ms"])?;
    let timeout = params.timeout()?;
    check_type(request.headers())?;
    let body = body::take(request.into_body(), SMALL_BODY).await?;
    let wish: Wish = serde_json::from_slice(&body).map_err(|error| {
        ApiError::malformed(
            format!("the body is not what it should be: {error}"),
            "send {\"dissolve\":false}",
        )
    })?;
    app.joined()?;
    let left = app.group.leave(wish.dissolve).timeout(timeout).await;
    left.map_err(|error| match error {
        LeaveError::LastVoter => ApiError::new(
            StatusCode::CONFLICT,
            "last_voter",
            error.to_string(),
            "start another peer first, or end the group with {\"dissolve\":true}, which is \
             `quorate leave --dissolve`",
        ),
        LeaveError::Busy => ApiError::busy(),
        LeaveError::Closed => ApiError::stopping(),
        _ => ApiError::no_quorum(app.why()),
    })?;
    app.left.notify_one();
    Ok(error::json(StatusCode::OK, &json!({"left": true})))
}
