//! Exchanges over HTTP, as a page shows them.
//!
//! ```text
//! PUT /v1/kv/hello        the request: its line, its headers, its body
//! world
//! = 200                   the code of the answer
//! Quorate-Cursor: ...     headers that it must have, among others
//! {"existed":false}       its body
//! ```
//!
//! What differs from run to run, cursors, is the same after [`normal`]; in a request the cursor
//! stands for that of the page's first answer, and `CLIENT` for the client that the page has
//! registered. A stream of events is read until it has shown what
//! the page shows.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// One request and its answer, as a page shows them.
#[derive(Debug)]
pub(crate) struct Exchange {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    code: u16,
    shown_headers: Vec<(String, String)>,
    shown_body: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    head: String,
    pub(crate) body: String,
}

/// Returns the exchanges that a page shows, in order.
pub(crate) fn of(page: &str) -> Vec<Exchange> {
    page.split("<!-- play -->\n```http\n")
        .skip(1)
        .map(|block| parse(block.split("\n```").next().unwrap()))
        .collect()
}

fn parse(block: &str) -> Exchange {
    let (request, answer) = block.split_once("\n= ").unwrap();
    let (line, rest) = request.split_once('\n').unwrap_or((request, ""));
    let (method, path) = line.split_once(' ').unwrap();
    let (headers, body) = split(rest);
    let (code, rest) = answer.split_once('\n').unwrap_or((answer, ""));
    let (shown_headers, shown_body) = split(rest);
    Exchange {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        body,
        code: code.parse().unwrap(),
        shown_headers,
        shown_body,
    }
}

/// Tells headers from the body behind them.
fn split(text: &str) -> (Vec<(String, String)>, String) {
    let mut headers = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some((name, value)) = lines.peek().and_then(|line| line.split_once(": ")) {
        let header = |c: char| c.is_ascii_alphabetic() || c == '-';
        // Lines of events and of JSON begin otherwise.
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.chars().all(header) {
            break;
        }
        headers.push((name.to_owned(), value.to_owned()));
        lines.next();
    }
    (headers, lines.collect::<Vec<_>>().join("\n"))
}

impl Exchange {
    /// Plays it against a peer and compares the answer with the page.
    ///
    /// `seen` is what the page's answers have said so far.
    #[track_caller]
    pub(crate) fn play(&self, http: &str, seen: &mut Seen) {
        let here = |text: &str| {
            let cursor = seen.cursor.as_deref().unwrap_or(CURSOR);
            let client = seen.client.as_deref().unwrap_or(CLIENT);
            text.replace(CURSOR, cursor).replace(CLIENT, client)
        };
        let headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), here(value)))
            .collect();
        let wanted = normal(&self.shown_body);
        let mut enough = |body: &str| self.is_stream() && normal(body).contains(&wanted);
        let path = here(&self.path);
        let answer = ask_until(http, &self.method, &path, &headers, &self.body, &mut enough);
        assert_eq!(answer.code, self.code, "{self:?}: {answer:?}");
        let head = normal(&answer.head).to_ascii_lowercase();
        for (name, value) in &self.shown_headers {
            let header = format!("\r\n{name}: {value}\r\n").to_ascii_lowercase();
            assert!(head.contains(&header), "{self:?}: {head}");
        }
        if self.path.starts_with("/v1/clients") {
            let client = answer.body.split('"').nth(3);
            seen.client = client.map(str::to_owned);
        }
        let found = normal(answer.body.trim_end());
        let found = match &seen.client {
            Some(client) => found.replace(client, CLIENT),
            None => found,
        };
        if self.is_stream() {
            assert!(found.contains(&wanted), "{self:?}: {found}");
        } else if !wanted.is_empty() {
            assert_eq!(found, wanted);
        }
        if seen.cursor.is_none() {
            let cursor = answer.head.split("quorate-cursor: ").nth(1);
            seen.cursor = cursor.and_then(|rest| rest.split("\r\n").next().map(str::to_owned));
        }
    }

    fn is_stream(&self) -> bool {
        let stream = |(_, value): &(String, String)| value == "text/event-stream";
        self.shown_headers.iter().any(stream)
    }
}

const CURSOR: &str = "GENESIS/TERM/INDEX";
const CLIENT: &str = "CLIENT";

/// What the answers of a page have said, for later requests.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    cursor: Option<String>,
    client: Option<String>,
}

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks a peer, and reads its whole answer.
pub(crate) fn ask(http: &str, method: &str, path: &str) -> Answer {
    ask_until(http, method, path, &[], "", &mut |_| false)
}

/// Asks a peer, and reads until the answer ends or its body is `enough`.
fn ask_until(
    http: &str,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: &str,
    enough: &mut dyn FnMut(&str) -> bool,
) -> Answer {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).unwrap();
    let (mut read, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let taken = stream.read(&mut part).unwrap();
        read.extend_from_slice(&part[..taken]);
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let chunked = head
                .to_ascii_lowercase()
                .contains("transfer-encoding: chunked");
            let body = if chunked {
                joined(body)
            } else {
                body.to_owned()
            };
            if taken == 0 || enough(&body) {
                return Answer {
                    code: head.split(' ').nth(1).unwrap().parse().unwrap(),
                    head: format!("{head}\r\n"),
                    body,
                };
            }
        }
        assert_ne!(taken, 0, "no answer: {text}");
    }
}

/// Puts the chunks of a body together, as far as they are there.
fn joined(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, chunk)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(piece) = chunk.get(..size) else {
            break;
        };
        body.push_str(piece);
        rest = chunk[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    body
}

/// Returns a text with all cursors replaced by one.
pub(crate) fn normal(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (taken, instead) = cursor(rest).unwrap_or_else(|| {
            let width = rest.chars().next().map_or(1, char::len_utf8);
            (width, &rest[..width])
        });
        normal.push_str(instead);
        rest = &rest[taken..];
    }
    normal
}

/// Returns how long the cursor at the front of `rest` is, if there is one, and what stands for it.
fn cursor(rest: &str) -> Option<(usize, &'static str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let hex = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    if hex == 32 && rest[hex..].starts_with('/') {
        let term = hex + 1 + digits(&rest[hex + 1..]);
        let index = rest[term..].strip_prefix('/').map(digits)?;
        return Some((term + 1 + index, "GENESIS/TERM/INDEX"));
    }
    let inner = rest.strip_prefix('(')?;
    let term = digits(inner);
    let index = inner[term..].strip_prefix(", ").map(digits)?;
    let end = term + 2 + index;
    (term > 0 && index > 0 && inner[end..].starts_with(')')).then_some((end + 2, "(TERM, INDEX)"))
}

/// Returns the number of a status code by its name.
pub(crate) fn code(name: &str) -> u16 {
    match name {
        "OK" => 200,
        "BAD_REQUEST" => 400,
        "UNAUTHORIZED" => 401,
        "FORBIDDEN" => 403,
        "NOT_FOUND" => 404,
        "METHOD_NOT_ALLOWED" => 405,
        "REQUEST_TIMEOUT" => 408,
        "CONFLICT" => 409,
        "GONE" => 410,
        "PAYLOAD_TOO_LARGE" => 413,
        "TOO_MANY_REQUESTS" => 429,
        "INTERNAL_SERVER_ERROR" => 500,
        "SERVICE_UNAVAILABLE" => 503,
        "GATEWAY_TIMEOUT" => 504,
        other => panic!("a code that this test does not know: {other}"),
    }
}
