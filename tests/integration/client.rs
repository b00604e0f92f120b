//! A client that hides nothing: what is sent is what the test wrote, what came back is kept as it came.
//!
//! Every response is checked for what must hold for all of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::gate::PATIENCE;

/// One connection, HTTP/1.1.
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    /// Its status.
    pub(crate) status: u16,
    /// Its fields in the order in which they came, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    /// Its content.
    pub(crate) content: Vec<u8>,
}

impl Response {
    /// The value of a field that may stand once at most.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands more than once: {self:?}");
        value
    }

    /// A field as a number.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.field(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).parse().unwrap()
    }

    /// The content as text.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.content.clone()).unwrap()
    }

    /// The content as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.content).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The machine code of a refusal.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// What must hold for every response.
    #[track_caller]
    fn check(&self) {
        if self.status == 401 {
            assert!(self.field("www-authenticate").is_some(), "a 401 without a challenge: {self:?}");
        }
        if self.field("content-type") == Some("application/problem+json") {
            let problem = self.json();
            assert_eq!(problem["status"], self.status, "{self:?}");
            assert!(problem["code"].is_string() && problem["title"].is_string(), "{self:?}");
            assert_eq!(self.field("cache-control"), Some("no-store"), "{self:?}");
        }
        if self.status == 429 {
            assert!(self.number("retry-after") >= 1, "{self:?}");
        }
        assert!(self.field("keep-alive").is_none() && self.field("proxy-connection").is_none(), "{self:?}");
    }
}

impl Client {
    /// Opens a connection.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    /// Takes a connection that is open.
    #[track_caller]
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream)
    }

    /// The same connection once more, for another thread. What was read already stays here.
    pub(crate) fn twin(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), unread: Vec::new() }
    }

    /// Says that nothing more will be sent. The other side may still answer.
    pub(crate) fn sends_no_more(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Whether the other side closes within `wait`.
    pub(crate) fn closes_within(&mut self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).unwrap();
        let mut byte = [0];
        let closed = match self.stream.read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        closed
    }
}

impl<S: Read + Write> Client<S> {
    /// Speaks over any stream, whose times to wait are set.
    pub(crate) fn on(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, path: &str, fields: &[(&str, &str)], content: &[u8]) -> Response {
        self.send(method, path, fields, content);
        self.response(method)
    }

    /// Sends a request. `Host` and `Content-Length` are added unless `fields` has them.
    pub(crate) fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)], content: &[u8]) {
        let has = |name: &str| fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name));
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !has("host") {
            head.push_str("Host: api.example\r\n");
        }
        if !content.is_empty() && !has("content-length") && !has("transfer-encoding") {
            head.push_str(&format!("Content-Length: {}\r\n", content.len()));
        }
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes());
        self.write(content);
    }

    /// Sends bytes as they are. A server that has closed already is not an error here: it shows in the response.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads one response to a request of this method.
    #[track_caller]
    pub(crate) fn response(&mut self, method: &str) -> Response {
        self.answer(method).expect("the connection was closed before a response")
    }

    /// Reads one response to a request of this method; `None` if the connection is closed without one.
    #[track_caller]
    pub(crate) fn answer(&mut self, method: &str) -> Option<Response> {
        let head = self.read_head()?;
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let fields: Vec<(String, String)> = lines
            .filter(|line| !line.is_empty())
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        if (100..200).contains(&status) && status != 101 {
            return self.answer(method);
        }
        let mut response = Response { status, fields, content: Vec::new() };
        let empty = method == "HEAD" || status == 204 || status == 304 || status == 101;
        if !empty {
            response.content = self.read_content(&response);
        }
        if method != "HEAD" {
            response.check();
        }
        Some(response)
    }

    #[track_caller]
    fn read_content(&mut self, response: &Response) -> Vec<u8> {
        if response.field("transfer-encoding") == Some("chunked") {
            let mut content = Vec::new();
            loop {
                let size = usize::from_str_radix(&self.read_line(), 16).unwrap();
                content.extend(self.take(size));
                assert_eq!(self.take(2), b"\r\n");
                if size == 0 {
                    return content;
                }
            }
        }
        match response.field("content-length") {
            Some(length) => self.take(length.parse().unwrap()),
            None => self.rest(),
        }
    }

    fn read_line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.take(1));
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Reads exactly so many bytes.
    #[track_caller]
    pub(crate) fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.unread.len() < bytes {
            assert!(self.fill() > 0, "the connection was closed in the middle of a response");
        }
        self.unread.drain(..bytes).collect()
    }

    /// Reads until the other side closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.unread)
    }

    fn read_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return Some(String::from_utf8_lossy(&head).trim_end().to_owned());
            }
            if self.fill() == 0 {
                return None;
            }
        }
    }

    /// Reads what is there; 0 when the connection is closed.
    fn fill(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                count
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}
