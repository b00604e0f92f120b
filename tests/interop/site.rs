//! What stands behind the gateway for clients of HTTP: a site with pages of each kind that clients know to handle.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::upstream::{Received, Then, Upstream, respond};

/// How much there is at `/file`.
pub(crate) const FILE_BYTES: usize = 300_000;

/// "squeezed" five hundred times, as gzip has it.
const SQUEEZED: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc5\x31\x11\x00\x30\x08\x04\x30\xb3\x7d\x01\x3d\x8e\x05\
    \xf5\xc8\x60\x49\x96\xd4\xef\x64\xf2\xca\xb6\x6d\xdb\xb6\x6d\x9f\xbd\x59\x9f\xd5\x02\xa0\x0f\x00\x00";

/// The content of `/file`, in which no two places look alike.
pub(crate) fn file() -> Vec<u8> {
    static FILE: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0_u32..).flat_map(|number| format!("{number:07}\n").into_bytes()).take(FILE_BYTES).collect());
    FILE.clone()
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A site with these pages:
///
/// - `/echo`: what was asked for, as JSON
/// - `/file`: `FILE_BYTES` bytes, whole or in part
/// - `/parts`: three parts with pauses in between, and a trailer
/// - `/moved`: leads to `/echo`
/// - `/squeezed`: content that is compressed
/// - `/cookies`: sets two
/// - `/nothing`: 204
/// - `/until-the-end`: content that ends with the connection
/// - `/slow`: an answer after half a minute
pub(crate) fn site() -> Upstream {
    Upstream::answering(|request, stream| {
        let (method, path) = line(request);
        match path.split('?').next().unwrap() {
            "/file" => part(request, stream),
            "/parts" => parts(stream),
            "/moved" => respond(stream, "302 Found", "location: /echo\r\n", b""),
            "/squeezed" => {
                respond(stream, "200 OK", "content-encoding: gzip\r\ncontent-type: text/plain\r\n", SQUEEZED)
            }
            "/cookies" => respond(stream, "200 OK", "set-cookie: a=1; Path=/\r\nset-cookie: b=2; Path=/\r\n", b""),
            "/nothing" => {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                Then::Keep
            }
            "/until-the-end" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it");
                Then::Close
            }
            "/slow" => {
                std::thread::sleep(Duration::from_secs(30));
                respond(stream, "200 OK", "", b"late")
            }
            _ => echo(request, method, path, stream),
        }
    })
}

fn line(request: &Received) -> (&str, &str) {
    let mut words = request.head.split(' ');
    (words.next().unwrap(), words.next().unwrap())
}

fn echo(request: &Received, method: &str, path: &str, stream: &mut TcpStream) -> Then {
    let fields: Vec<_> = request.head.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
    let said = json!({
        "method": method,
        "path": path,
        "fields": fields,
        "bytes": request.content.len(),
        "sha256": digest(&request.content),
        "connection": request.connection,
    });
    let content = said.to_string();
    if method == "HEAD" {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", content.len());
        return Then::Keep;
    }
    respond(stream, "200 OK", "content-type: application/json\r\n", content.as_bytes())
}

/// One range, as clients ask for that go on with a download (RFC 9110, section 14).
fn part(request: &Received, stream: &mut TcpStream) -> Then {
    let file = file();
    let always = "accept-ranges: bytes\r\netag: \"1\"\r\n";
    let range = request.values("range").first().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = range else {
        return respond(stream, "200 OK", always, &file);
    };
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(FILE_BYTES, |last: usize| last + 1).min(FILE_BYTES);
    if from >= to {
        return respond(stream, "416 Range Not Satisfiable", &format!("content-range: bytes */{FILE_BYTES}\r\n"), b"");
    }
    let fields = format!("{always}content-range: bytes {from}-{}/{FILE_BYTES}\r\n", to - 1);
    respond(stream, "206 Partial Content", &fields, &file[from..to])
}

fn parts(stream: &mut TcpStream) -> Then {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n");
    for part in ["one\n", "two\n", "three\n"] {
        let _ = write!(stream, "{:x}\r\n{part}\r\n", part.len());
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = stream.write_all(b"0\r\nx-sum: 14\r\n\r\n");
    Then::Keep
}
