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
//! What differs from run to run, cursors, is the same after [`normal`].

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
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
        if !name.chars().all(|c| c.is_ascii_alphabetic() || c == '-') {
            break;
        }
        headers.push((name.to_owned(), value.to_owned()));
        lines.next();
    }
    (headers, lines.collect::<Vec<_>>().join("\n"))
}

impl Exchange {
    /// Plays it against a peer and compares the answer with the page.
    #[track_caller]
    pub(crate) fn play(&self, http: &str) {
        let answer = ask(http, &self.method, &self.path, &self.headers, &self.body);
        assert_eq!(answer.code, self.code, "{self:?}: {answer:?}");
        let head = normal(&answer.head).to_ascii_lowercase();
        for (name, value) in &self.shown_headers {
            let header = format!("\r\n{name}: {value}\r\n").to_ascii_lowercase();
            assert!(head.contains(&header), "{self:?}: {head}");
        }
        if !self.shown_body.is_empty() {
            assert_eq!(normal(answer.body.trim_end()), normal(&self.shown_body));
        }
    }
}

/// Asks a peer.
pub(crate) fn ask(
    http: &str,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(http).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        code,
        head: format!("{head}\r\n"),
        body: body.to_owned(),
    }
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
