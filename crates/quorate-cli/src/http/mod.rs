//! The HTTP interface of a peer, for programs in any language.
//!
//! ```text
//! GET|PUT|DELETE /v1/kv/{key}        one value, as raw bytes
//! POST           /v1/kv/{key}/cas    replaces it only if it is the expected one
//! POST           /v1/clients         registers a client, whose requests are applied once
//! GET            /v1/watch           changes as they are applied, as server-sent events
//! GET            /v1/status          how the group stands on this peer
//! GET            /v1/digest          the digest of what this peer holds
//! POST           /v1/leave           gives up this peer's seat, and stops it
//! POST           /v1/transfer-leader  has another voter lead
//! GET            /healthz            whether a linearizable read can be served
//! GET            /metrics            what the peer counts, in the OpenMetrics text format
//! ```
//!
//! Every answer says in `Quorate-Cursor` where it stands in the log; every error is a JSON object
//! that says what to do. The status code of a write says whether anything was changed.

mod app;
mod body;
mod cas;
mod clients;
mod digest;
mod error;
mod guard;
mod health;
mod kv;
mod leave;
mod metrics;
mod params;
mod server;
mod status;
mod transfer_leader;
mod watch;
mod writer;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
    routing::{any, get, post},
};

pub(crate) use app::App;
pub(crate) use guard::Guard;
pub(crate) use server::serve;
pub(crate) use status::{PeerBody, StatusBody};

use app::{CURSOR, mark};
use error::ApiError;

/// Makes the interface of `app`, behind `guard`.
pub(crate) fn router(app: Arc<App>, guard: Arc<Guard>) -> Router {
    Router::new()
        .route("/v1/kv/", any(no_key))
        .route(
            "/v1/kv/{key}",
            get(kv::get)
                .put(kv::put)
                .delete(kv::delete)
                .fallback(method("GET, PUT or DELETE")),
        )
        .route("/v1/kv/{key}/cas", post(cas::cas).fallback(method("POST")))
        .route(
            "/v1/clients",
            post(clients::clients).fallback(method("POST")),
        )
        .route("/v1/leave", post(leave::leave).fallback(method("POST")))
        .route(
            "/v1/transfer-leader",
            post(transfer_leader::transfer_leader).fallback(method("POST")),
        )
        .route("/metrics", get(metrics::metrics).fallback(method("GET")))
        .route("/v1/watch", get(watch::watch).fallback(method("GET")))
        .route("/v1/status", get(status::status).fallback(method("GET")))
        .route("/v1/digest", get(digest::digest).fallback(method("GET")))
        .route("/healthz", get(health::healthz).fallback(method("GET")))
        .fallback(no_route)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), place))
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .with_state(app)
}

/// Says where the group stands in answers that do not say it themselves.
async fn place(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if !response.headers().contains_key(CURSOR) {
        mark(&mut response, app.position());
    }
    response
}

async fn no_key() -> ApiError {
    ApiError::malformed(
        "there is no key in the address",
        "write it behind /v1/kv/, percent-encoded",
    )
}

async fn no_route() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_such_address",
        "there is nothing at this address",
        "try /v1/status; a key with a / in it is written with %2F",
    )
}

/// Answers requests of another method than those that an address takes.
fn method(methods: &'static str) -> impl Fn() -> std::future::Ready<ApiError> + Clone {
    move || {
        std::future::ready(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            format!("this address takes {methods}"),
            "use one of these methods",
        ))
    }
}
