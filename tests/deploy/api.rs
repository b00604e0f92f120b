//! A small API for tests with containers: it has no dependency, so that it is compiled in a second and needs no image.
//!
//!     api ADDRESS SECONDS
//!
//! It answers everything with 200 and the path that was asked for; `/slow` after three seconds. When it is told to end
//! (SIGTERM), it goes on for SECONDS and ends then.

#![allow(unsafe_code, reason = "the standard library has no signals")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SIGTERM: i32 = 15;

static TOLD_TO_END: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

extern "C" fn note(_: i32) {
    TOLD_TO_END.store(true, Ordering::Relaxed);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(seconds)) = (arguments.next(), arguments.next()) else { panic!("api ADDRESS SECONDS") };
    let seconds = seconds.parse().expect("a number of seconds");
    // SAFETY: the handler does nothing but store to an atomic, which signal handlers may.
    unsafe { signal(SIGTERM, note) };
    let listener = TcpListener::bind(address).expect("a free address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    while !TOLD_TO_END.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(seconds));
}

/// Answers the requests of one connection, one after the other. They have no content.
fn serve(stream: TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    loop {
        let first = lines.next()?.ok()?;
        let path = first.split(' ').nth(1)?.to_owned();
        while !lines.next()?.ok()?.is_empty() {}
        if path == "/slow" {
            std::thread::sleep(Duration::from_secs(3));
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}\n", path.len() + 1);
        (&stream).write_all(answer.as_bytes()).ok()?;
    }
}
