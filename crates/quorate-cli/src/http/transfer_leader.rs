//! `POST /v1/transfer-leader`: handing the lead over, from any peer.
//!
//! ```text
//! {"to":"7f9c24e8..."}  ->  {"leader":"7f9c24e8b1..."}
//! {"to":null}           ->  {"leader":"7f9c24e8b1..."}      to whichever voter is best caught up
//! ```
//!
//! `to` is a voter's id or as much of its beginning as no other voter shares, so that people can
//! copy it from a table. While it runs, writes, reads and changes of the members wait, for a round
//! trip or two; if the voter does not take the lead in time, the leader goes on.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use quorate::{PeerId, TransferError};
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
    to: Option<String>,
}

/// Hands the lead over, and says who leads then.
pub(crate) async fn transfer_leader(
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
            "send {\"to\":null}, or the id of a voter instead of null",
        )
    })?;
    app.joined()?;
    let to = wish.to.map(|id| voter(&app, &id)).transpose()?;
    let done = app.group.transfer_leader(to).timeout(timeout).await;
    done.map_err(|error| match error {
        TransferError::NotVoter => not_voter(error.to_string()),
        TransferError::LastVoter => ApiError::new(
            StatusCode::CONFLICT,
            "last_voter",
            error.to_string(),
            "start another peer first",
        ),
        TransferError::Busy => ApiError::busy(),
        TransferError::Closed => ApiError::stopping(),
        _ => ApiError::no_quorum(app.why().or_else(|| Some(error.to_string()))),
    })?;
    let leads = || app.group.status().leader.map(|leader| leader.peer);
    let leader = to.or_else(leads).map(|peer| peer.to_string());
    Ok(error::json(StatusCode::OK, &json!({"leader": leader})))
}

/// Finds the one voter whose id begins with `id`.
fn voter(app: &App, id: &str) -> Result<PeerId, ApiError> {
    let status = app.group.status();
    let voters = &status.configuration.voters;
    let mut named = voters
        .iter()
        .map(|voter| voter.peer)
        .filter(|peer| !id.is_empty() && peer.to_string().starts_with(id));
    match (named.next(), named.next()) {
        (Some(peer), None) => Ok(peer),
        (Some(_), Some(_)) => Err(ApiError::malformed(
            format!("more than one voter's id begins with {id:?}"),
            "write more of it",
        )),
        (None, _) => Err(not_voter(format!("no voter's id begins with {id:?}"))),
    }
}

fn not_voter(message: String) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "not_voter",
        message,
        "name one of the group's voters: `quorate members` lists them",
    )
}
