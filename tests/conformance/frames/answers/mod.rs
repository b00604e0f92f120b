//! Upstreams that answer in HTTP/1.1 what they must not, to clients of both versions.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::gate::{Gate, gate};
use crate::key::{TestKey, key};
use crate::plain::Plain;
use crate::stands_in_the_table;
use crate::tap;
use crate::wire::{Answer, End, Wire};

mod corpus;

use corpus::Row;
pub(crate) use corpus::{MARK, Then};

/// An upstream that answers `/row/N` as row N says, and everything else with its own target.
struct Scripted {
    address: SocketAddr,
    /// What arrived that was no request of HTTP/1.1.
    wrong: Wrong,
}

type Wrong = Arc<Mutex<Vec<String>>>;

impl Scripted {
    fn open(rows: Arc<Vec<Row>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let scripted = Self { address: listener.local_addr().unwrap(), wrong: Wrong::default() };
        let wrong = Arc::clone(&scripted.wrong);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (rows, wrong) = (Arc::clone(&rows), Arc::clone(&wrong));
                std::thread::spawn(move || {
                    if let Err(error) = serve(stream, &rows) {
                        wrong.lock().unwrap().push(error);
                    }
                });
            }
        });
        scripted
    }
}

fn serve(mut stream: TcpStream, rows: &[Row]) -> Result<(), String> {
    let _ = stream.set_nodelay(true);
    let (mut unread, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        unread.extend_from_slice(&buffer[..count]);
        while let Some((request, length)) = tap::read(&unread)? {
            unread.drain(..length);
            let target = request.target();
            let row = target.strip_prefix("/row/").and_then(|number| rows.get(number.parse::<usize>().ok()?));
            let Some(row) = row else {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len());
                let _ = stream.write_all(answer.as_bytes());
                continue;
            };
            for part in &row.parts {
                let _ = stream.write_all(part);
                if row.parts.len() > 1 {
                    std::thread::sleep(PAUSE);
                }
            }
            if row.closes {
                let _ = stream.shutdown(Shutdown::Both);
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Between the parts of an answer.
const PAUSE: Duration = Duration::from_millis(40);

/// What of a row is to be known in order to judge it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'r> {
    pub(crate) method: &'r str,
    pub(crate) then: Then,
    /// Something comes late, and is waited for before the next request.
    pub(crate) late: bool,
}

/// A client of either version.
enum Asks {
    Http1(Plain),
    Http2(Wire),
}

impl Asks {
    fn connect(gate: &Gate, version: u8) -> Self {
        match version {
            1 => Self::Http1(Plain::connect(gate.address)),
            _ => Self::Http2(Wire::connect(gate.address)),
        }
    }

    fn ask(&mut self, method: &str, target: &str, key: &TestKey) -> Answer {
        match self {
            Self::Http1(plain) => plain.request(method, target, &key.secret),
            Self::Http2(wire) => wire.request(&[
                (":method", method),
                (":scheme", "http"),
                (":authority", "api.example"),
                (":path", target),
                ("x-api-key", &key.secret),
            ]),
        }
    }
}

#[test]
fn what_an_upstream_answers_wrongly_reaches_nobody_as_an_answer_over_http1() {
    run(1);
}

#[test]
fn what_an_upstream_answers_wrongly_reaches_nobody_as_an_answer_over_http2() {
    run(2);
}

/// How the rows of a run ended.
#[derive(Default, Debug)]
pub(crate) struct Counts {
    rows: usize,
    whole: usize,
    refused: usize,
    cut: usize,
}

impl Counts {
    #[track_caller]
    pub(crate) fn stand_in_the_table(&self, corpus: &str, version: u8) {
        let Self { rows, whole, refused, cut } = self;
        let client = if version == 1 { "an HTTP/1.1 client" } else { "an HTTP/2 client" };
        stands_in_the_table(&format!(
            "| {corpus}, to {client} | {rows} | {whole} whole, {refused} refused with 502, {cut} cut |"
        ));
    }
}

fn run(version: u8) {
    let rows = Arc::new(corpus::rows());
    let upstream = Scripted::open(Arc::clone(&rows));
    let alice = key("alice");
    let gate = gate(format!("http://{}", upstream.address))
        .key(&alice)
        .listen("listen: { address: \"127.0.0.1:0\", prior_knowledge: true }")
        // One worker has one pool: what is left on a connection meets the next request.
        .with("workers: 1")
        .start();
    let (mut counts, mut wrong) = (Counts::default(), Vec::new());
    for (number, row) in rows.iter().enumerate() {
        let asked = Asked { method: row.method, then: row.then, late: row.parts.len() > 1 };
        if let Err(what) = judge(number, asked, &gate, version, &alice, &mut counts) {
            wrong.push(format!("{}: {what}", row.name));
        }
    }
    wrong.extend(std::mem::take(&mut *upstream.wrong.lock().unwrap()));
    println!("wrong answers to HTTP/{version}: {counts:?}, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    counts.stand_in_the_table("wrong answers in HTTP/1.1", version);
}

/// Asks for a row, and then twice for something else.
pub(crate) fn judge(
    number: usize,
    asked: Asked<'_>,
    gate: &Gate,
    version: u8,
    alice: &TestKey,
    counts: &mut Counts,
) -> Result<(), String> {
    counts.rows += 1;
    let mut client = Asks::connect(gate, version);
    let answer = client.ask(asked.method, &format!("/row/{number}"), alice);
    let verdict = verdict(asked.then, version, &answer, counts);
    if asked.late {
        std::thread::sleep(2 * PAUSE);
    }
    for time in 0..2 {
        if time == 1 || matches!(answer.end, End::Closed | End::Silent) {
            client = Asks::connect(gate, version);
        }
        let target = format!("/after/{number}/{time}");
        let after = client.ask("GET", &target, alice);
        if (after.status, after.text(), after.end) != (200, target, End::Whole) {
            return Err(format!("the request behind it got {}; it was {}", shown(&after), shown(&answer)));
        }
    }
    verdict
}

fn verdict(then: Then, version: u8, answer: &Answer, counts: &mut Counts) -> Result<(), String> {
    let all = format!("{:?}{}", shown_lines(answer), answer.text());
    if all.contains(MARK) {
        return Err(format!("what must not be seen was seen: {}", shown(answer)));
    }
    let refused = answer.status == 502 && answer.end == End::Whole;
    let cut = !matches!(answer.end, End::Whole | End::Silent);
    let whole = |content: &str| answer.end == End::Whole && answer.text() == content && answer.status < 500;
    let good = match then {
        Then::Whole(content) => whole(content),
        Then::Refused => refused,
        Then::RefusedAs(code) => refused && answer.text().contains(&format!("\"{code}\"")),
        Then::Cut => cut || refused,
        Then::Surplus(content) if version == 1 => whole(content),
        Then::Surplus(_) => cut,
    };
    if !good {
        return Err(shown(answer));
    }
    counts.refused += usize::from(refused);
    counts.cut += usize::from(cut);
    counts.whole += usize::from(!refused && !cut);
    Ok(())
}

fn shown(answer: &Answer) -> String {
    let text: String = answer.text().chars().take(60).collect();
    format!("{} {:?} {text:?}", answer.status, answer.end)
}

fn shown_lines(answer: &Answer) -> String {
    let line = |(name, value): &(Vec<u8>, Vec<u8>)| {
        format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    answer.lines.iter().map(line).collect()
}
