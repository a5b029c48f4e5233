//! Who may ask at all.
//!
//! The interface listens on this machine, and so do the browsers of its users. A page from
//! anywhere can make a browser send requests to 127.0.0.1, and, by answering a lookup of its own
//! name with 127.0.0.1, can even read the answers. Both show: the first in the header `Origin`,
//! which no program but a browser sends, the second in `Host`, which then is a name that is not
//! ours. Both are refused. Names that mean this machine are `localhost` and literal addresses.
//!
//! Beyond this machine a token is needed as well, and compared in constant time.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use subtle::ConstantTimeEq as _;

use super::error::ApiError;

/// What a request must show to be let in.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The token, if one is needed.
    pub(crate) token: Option<String>,
}

/// Lets a request in or turns it away.
pub(crate) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.admit(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let unauthorized = refused.status() == StatusCode::UNAUTHORIZED;
            let mut response = refused.into_response();
            if unauthorized {
                let scheme = header::HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

impl Guard {
    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        if headers.contains_key(header::ORIGIN) {
            return Err(forbidden(
                "requests of web pages are refused",
                "send the request from a program: without the header Origin",
            ));
        }
        if let Some(authority) = uri.authority() {
            local(authority.as_str())?;
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => local(&String::from_utf8_lossy(host.as_bytes()))?,
            (None, _) if uri.authority().is_some() => {}
            _ => {
                return Err(ApiError::malformed(
                    "there must be one Host header",
                    "send HTTP/1.1 with the address that was connected to as Host",
                ));
            }
        }
        self.token(headers)
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let shown = headers.get(header::AUTHORIZATION);
        let shown = shown.map(|value| value.as_bytes()).unwrap_or_default();
        let shown = match shown.split_at_checked(BEARER.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(BEARER) => rest,
            _ => &[],
        };
        if bool::from(shown.ct_eq(token.as_bytes())) {
            Ok(())
        } else {
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "this peer wants a token",
                "send `Authorization: Bearer TOKEN`, or give the command --http-token-file FILE",
            ))
        }
    }
}

const BEARER: &[u8] = b"Bearer ";

/// Checks that a host, with or without a port, is a name of this machine.
fn local(host: &str) -> Result<(), ApiError> {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    if name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(forbidden(
        format!("the Host {host:?} is not a name of this machine"),
        "use the address that `quorate up` printed",
    ))
}

fn forbidden(message: impl Into<String>, hint: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "forbidden", message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_names_of_this_machine() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "LocalHost:9",
        ] {
            assert!(local(host).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:80",
            "localhost.evil.example",
            "",
            ":80",
        ] {
            assert!(local(host).is_err(), "{host}");
        }
    }

    #[test]
    fn a_token_must_be_shown_whole() {
        let guard = Guard {
            token: Some("s3cret".to_owned()),
        };
        let admit = |shown: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(shown) = shown {
                headers.insert(header::AUTHORIZATION, shown.parse().unwrap());
            }
            guard.token(&headers).is_ok()
        };
        assert!(admit(Some("Bearer s3cret")));
        assert!(admit(Some("bearer s3cret")));
        for wrong in [
            "",
            "s3cret",
            "Bearer",
            "Bearer s3cre",
            "Bearer s3crets",
            "Basic s3cret",
        ] {
            assert!(!admit(Some(wrong)), "{wrong}");
        }
        assert!(!admit(None));
    }
}
