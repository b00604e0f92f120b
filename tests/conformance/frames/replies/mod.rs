//! Upstreams that answer in HTTP/2 what they must not, to clients of both versions.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use crate::answers::{Asked, Counts, judge};
use crate::frame::{DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, block, frame};
use crate::gate::gate;
use crate::key::key;
use crate::wire::Wire;

mod corpus;

use corpus::Row;

/// Answers `/row/N` as row N says, and everything else with its own target.
fn open(rows: Arc<Vec<Row>>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let rows = Arc::clone(&rows);
            std::thread::spawn(move || serve(stream, &rows));
        }
    });
    address
}

fn serve(stream: TcpStream, rows: &[Row]) {
    let mut wire = Wire::over(stream);
    if !wire.greeted() {
        return;
    }
    wire.write(&frame(SETTINGS, 0, 0, &[]));
    while let Some(read) = wire.read() {
        if read.kind != HEADERS {
            continue;
        }
        let lines = wire.lines(&read);
        let target = lines.iter().find(|(name, _)| name == b":path").map(|(_, value)| value.clone()).unwrap();
        let target = String::from_utf8(target).unwrap();
        let row = target.strip_prefix("/row/").and_then(|number| rows.get(number.parse::<usize>().ok()?));
        let Some(row) = row else {
            let head = block(&[(":status", "200"), ("content-length", &target.len().to_string())]);
            let head = frame(HEADERS, END_HEADERS, read.stream, &head);
            wire.write(&[head, frame(DATA, END_STREAM, read.stream, target.as_bytes())].concat());
            continue;
        };
        wire.write(&(row.frames)(read.stream));
        if row.closes {
            wire.close();
            return;
        }
    }
}

#[test]
fn wrong_frames_of_an_upstream_reach_nobody_as_an_answer_over_http1() {
    run(1);
}

#[test]
fn wrong_frames_of_an_upstream_reach_nobody_as_an_answer_over_http2() {
    run(2);
}

fn run(version: u8) {
    let rows = Arc::new(corpus::rows());
    let (address, alice) = (open(Arc::clone(&rows)), key("alice"));
    let gate = gate("http://127.0.0.1:1")
        .key(&alice)
        .upstream(&format!("upstream: {{ url: \"http://{address}\", protocol: http2 }}"))
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        .with("workers: 1")
        .start();
    let (mut counts, mut wrong) = (Counts::default(), Vec::new());
    for (number, row) in rows.iter().enumerate() {
        let asked = Asked { method: row.method, then: row.then, late: row.late };
        if let Err(what) = judge(number, asked, &gate, version, &alice, &mut counts) {
            wrong.push(format!("{}: {what}", row.name));
        }
    }
    println!("wrong frames to HTTP/{version}: {counts:?}, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    counts.stand_in_the_table("wrong frames of an HTTP/2 upstream", version);
}
