//! A client that sends exactly what it is told, and shows exactly what comes back.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use super::PATIENCE;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    says_length: bool,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An answer without an end, read line by line.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
    /// What is left of the piece that is being read.
    left: usize,
}

/// A server-sent event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) kind: String,
    pub(crate) data: Option<Value>,
}

impl Request {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
            says_length: true,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn put(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self::new("PUT", path).body(body)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path)
    }

    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", path)
            .header("Content-Type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Does not say how long the body is.
    pub(crate) fn without_length(mut self) -> Self {
        self.says_length = false;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends it and takes the whole answer; nothing if nobody answers.
    pub(crate) fn send(&self, to: SocketAddr) -> Option<Response> {
        let stream = self.open(to)?;
        let mut response = Response {
            status: stream.status,
            headers: stream.headers,
            body: Vec::new(),
        };
        let mut reader = stream.reader;
        match response
            .header("content-length")
            .map(|length| length.parse().unwrap())
        {
            Some(length) => {
                response.body.resize(length, 0);
                reader.read_exact(&mut response.body).ok()?;
            }
            None => {
                reader.read_to_end(&mut response.body).ok()?;
            }
        }
        Some(response)
    }

    /// Sends it and takes the head of the answer; nothing if nobody answers.
    pub(crate) fn open(&self, to: SocketAddr) -> Option<Stream> {
        let mut socket = TcpStream::connect_timeout(&to, Duration::from_secs(5)).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!(
            "{} {} HTTP/1.1\r\nConnection: close\r\n",
            self.method, self.path
        );
        let own = |name: &str| self.headers.iter().any(|(known, _)| known == name);
        if !own("Host") {
            head += &format!("Host: {to}\r\n");
        }
        if self.says_length && !own("Content-Length") {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        socket.write_all(head.as_bytes()).ok()?;
        // A server that has refused already need not take all of it.
        socket.write_all(&self.body).unwrap_or_default();
        let mut reader = BufReader::new(socket);
        let first = line(&mut reader)?;
        let status = first.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut reader)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Stream {
            status,
            headers,
            reader,
            left: 0,
        })
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Returns where the answer stands in the log.
    #[track_caller]
    pub(crate) fn cursor(&self) -> &str {
        self.header("quorate-cursor")
            .unwrap_or_else(|| panic!("no cursor: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it is an error as all errors are; returns its kind.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        assert_eq!(self.header("content-type"), Some("application/json"));
        let body = self.json();
        let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["error", "hint", "message"]);
        for field in ["error", "hint", "message"] {
            assert_ne!(body[field].as_str().unwrap(), "");
        }
        body["error"].as_str().unwrap().to_owned()
    }
}

impl Stream {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Waits for the next event; nothing at the end. Comments are passed over.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                if event != Event::default() {
                    return Some(event);
                }
                continue;
            }
            let (name, value) = line.split_once(": ").unwrap();
            match name {
                "id" => event.id = Some(value.to_owned()),
                "event" => event.kind = value.to_owned(),
                "data" => event.data = Some(serde_json::from_str(value).unwrap()),
                other => assert_eq!(other, "", "a field that was not promised"),
            }
        }
    }

    /// Waits for the next event that says something: not of an id alone.
    pub(crate) fn change(&mut self) -> Option<Event> {
        loop {
            let event = self.event()?;
            if event.data.is_some() {
                return Some(event);
            }
        }
    }

    /// Reads a line across the pieces in which it may come.
    fn line(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        loop {
            if self.left == 0 {
                self.left = self.next_piece()?;
            }
            let mut byte = [0];
            self.reader.read_exact(&mut byte).ok()?;
            self.left -= 1;
            if self.left == 0 {
                line(&mut self.reader)?;
            }
            match byte[0] {
                b'\n' => return Some(String::from_utf8(bytes).unwrap()),
                byte => bytes.push(byte),
            }
        }
    }

    /// Reads the size of the next piece; nothing after the last.
    fn next_piece(&mut self) -> Option<usize> {
        let size = usize::from_str_radix(&line(&mut self.reader)?, 16).ok()?;
        (size > 0).then_some(size)
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let read = reader.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}
