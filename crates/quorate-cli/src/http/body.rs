//! Taking a request's body, as much as is allowed and as long as is allowed.
//!
//! A body that says it is too large is refused before any of it is read; one that turns out to be
//! is refused there. Either way some of the rest is read and dropped in the background: a client
//! that sends everything before it listens would otherwise see a broken connection instead of its
//! answer.

use axum::{body::Body, http::StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::time::timeout;

use crate::limits::{BODY_TIME, DRAIN, DRAIN_TIME};

use super::error::ApiError;

/// Takes a whole body of at most `most` bytes.
pub(crate) async fn take(mut body: Body, most: usize) -> Result<Bytes, ApiError> {
    let said = body.size_hint().lower();
    if said > most as u64 {
        tokio::spawn(drain(body));
        return Err(ApiError::too_large(most));
    }
    let taken = timeout(BODY_TIME, gather(&mut body, most)).await;
    match taken {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            tokio::spawn(drain(body));
            Err(ApiError::too_large(most))
        }
        Ok(Err(_)) => Err(ApiError::malformed(
            "the body ended early",
            "send as many bytes as Content-Length says",
        )),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_body",
            format!("the body took longer than {} s", BODY_TIME.as_secs()),
            "send it faster",
        )),
    }
}

/// Gathers the body; nothing if it is larger than `most`.
async fn gather(body: &mut Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if gathered.len() + data.len() > most {
                return Ok(None);
            }
            gathered.extend_from_slice(&data);
        }
    }
    Ok(Some(gathered.freeze()))
}

/// Reads and drops what is still coming, within limits.
async fn drain(mut body: Body) {
    let draining = async {
        let mut left = DRAIN;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whatever is left after that is the client's loss.
    timeout(DRAIN_TIME, draining).await.unwrap_or_default();
}
