//! One HTTP request to one peer.

use std::{fmt, net::ToSocketAddrs as _, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request,
    body::Incoming,
    client::conn::http1,
    header::{AUTHORIZATION, HOST, HeaderMap},
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    limits::{ANSWER, ANSWER_TIME, CONNECT_TIME},
    outcome::{Code, Failure},
};

use super::answer::{self, Answer};

/// A peer to ask.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Host and port.
    authority: String,
    token: Option<String>,
}

/// What to ask it.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    /// The path and the parameters, encoded.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How long the peer may take.
    pub(super) timeout: Duration,
}

impl Question {
    /// Asks for what is at `path`.
    pub(super) fn get(path: impl Into<String>, timeout: Duration) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

impl Peer {
    /// Takes the address that a user gave: `127.0.0.1:8080`, or with `http://` in front.
    pub(super) fn named(address: &str, token: Option<String>) -> Result<Self, Failure> {
        let bare = address.strip_prefix("http://").unwrap_or(address);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let port = bare.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if bare.contains('/') || !matches!(port, Some(Ok(1..))) {
            return Err(Failure::usage(
                format!("{address:?} is no HTTP address of a peer"),
                "use the address that `quorate up` printed, such as --http 127.0.0.1:8080",
            ));
        }
        Ok(Self {
            authority: bare.to_owned(),
            token,
        })
    }

    /// Asks, and takes the whole answer; gives the peer a little longer than it has been given.
    pub(super) async fn ask(&self, mut question: Question) -> Result<Answer, Failure> {
        question.timeout = question.timeout.saturating_add(ANSWER_TIME);
        self.ask_once(question).await
    }

    /// Asks, and takes the whole answer in time.
    pub(super) async fn ask_once(&self, question: Question) -> Result<Answer, Failure> {
        let patience = question.timeout;
        let asked = timeout(patience, async {
            let response = self.send(question).await?;
            answer::take(response, ANSWER).await
        });
        match asked.await {
            Ok(answer) => answer?.judged(),
            Err(_) => Err(Failure::new(
                Code::Timeout,
                format!("{self} has not answered for {} ms", patience.as_millis()),
                "run `quorate status`, or ask another peer with --http",
            )),
        }
    }

    /// Asks, and returns the beginning of the answer.
    pub(super) async fn send(
        &self,
        question: Question,
    ) -> Result<hyper::Response<Incoming>, Failure> {
        let stream = self.connect().await?;
        let address = stream.peer_addr().map(|address| address.to_string());
        let address = address.map_err(|error| self.unreachable(&error.to_string()))?;
        // Answers are awaited one at a time.
        stream.set_nodelay(true).unwrap_or_default();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        // Ends with the connection; what is wrong with it shows in the answer.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        let mut request = Request::new(Full::new(question.body));
        *request.method_mut() = question.method;
        *request.uri_mut() = question.path.parse().map_err(|_| {
            Failure::usage(
                "the key is longer than an address may be",
                "use a shorter key",
            )
        })?;
        *request.headers_mut() = question.headers;
        let mut header = |name, value: &str| {
            let value = value.parse().map_err(|_| {
                Failure::usage(format!("{value:?} cannot stand in a header"), "check it")
            })?;
            request.headers_mut().insert(name, value);
            Ok(())
        };
        // Names are refused, so that pages cannot borrow them: the address is as good.
        header(HOST, &address)?;
        if let Some(token) = &self.token {
            header(AUTHORIZATION, &format!("Bearer {token}"))?;
        }
        let answer = sender.send_request(request).await;
        answer.map_err(|error| self.broken(&error))
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<TcpStream, Failure> {
        let mut last = None;
        let addresses = self.authority.to_socket_addrs();
        let addresses = addresses.map_err(|error| self.unreachable(&error.to_string()))?;
        for address in addresses {
            match timeout(CONNECT_TIME, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = Some(error.to_string()),
                Err(_) => last = Some("no answer".to_owned()),
            }
        }
        Err(self.unreachable(&last.unwrap_or_else(|| "it has no address".to_owned())))
    }

    fn unreachable(&self, why: &str) -> Failure {
        Failure::new(
            Code::Failed,
            format!("no peer answers at {self}: {why}"),
            "start one with `quorate up`, or name another with --http ADDRESS",
        )
    }

    fn broken(&self, error: &hyper::Error) -> Failure {
        Failure::new(
            Code::Failed,
            format!("{self} broke the connection off: {error}"),
            "it may have stopped: run the command again, or ask another peer with --http ADDRESS; \
             a write may or may not have been applied",
        )
    }
}

/// What need not be encoded in an address.
pub(super) const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Encodes a key as one segment of a path.
pub(super) fn segment(key: &str) -> String {
    let segment = utf8_percent_encode(key, PLAIN).to_string();
    // Alone, dots mean another place.
    match segment.as_str() {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => segment,
    }
}
