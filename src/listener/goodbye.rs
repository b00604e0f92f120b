//! The last words on a connection, said so that the client can hear them.
//!
//! A socket that is closed while unread bytes lie in it resets the connection, and the reset can overtake an answer that
//! is still on its way (RFC 9112, section 9.6). So after an answer that ends a connection we close our direction only,
//! and throw away what still comes, within narrow bounds, until the client closes as well.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::drain::DrainWatch;
use super::socket::Wire;
use crate::coalescing::CoalescedStream;

/// How long we listen at most after our last word.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes we throw away at most.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one read of what is thrown away.
const READ_BYTES: usize = 4 * 1024;

/// RFC 9110, section 15.6.4.
const SERVICE_UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// RFC 6585, section 4.
const TOO_MANY_CONNECTIONS: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Says why a head was refused, and closes. In a drain it does not wait long for the client to hear it.
pub(super) async fn refusal(wire: &mut impl Wire, words: &[u8], drain: &DrainWatch) {
    let farewell = async {
        say(wire, words).await;
        linger(wire).await;
    };
    let _cut_short = drain.in_time(Instant::now() + 2 * LINGER, farewell).await;
}

/// Says 503 and closes.
pub(super) async fn service_unavailable(wire: &mut impl Wire) {
    say(wire, SERVICE_UNAVAILABLE).await;
    linger(wire).await;
}

/// Says 429 and closes.
pub(super) async fn too_many_connections(wire: &mut impl Wire) {
    say(wire, TOO_MANY_CONNECTIONS).await;
    linger(wire).await;
}

async fn say(wire: &mut impl Wire, words: &[u8]) {
    let said = async {
        wire.write_all(words).await?;
        wire.flush().await
    };
    // Whoever does not take these few bytes has gone, or does not read; either way there is nobody to tell.
    let _unheard = timeout(LINGER, said).await;
}

/// Closes our direction, and reads until the client has closed its own, or a bound is reached.
pub(super) async fn linger(wire: &mut impl Wire) {
    let farewell = async {
        // Fails if the client was faster, and then there is nothing left to wait for.
        wire.shutdown().await?;
        discard(wire.stream()).await
    };
    let _ended = timeout(LINGER, farewell).await;
}

async fn discard(stream: &mut CoalescedStream) -> std::io::Result<()> {
    let mut scrap = vec![0; READ_BYTES];
    let mut discarded = 0;
    while discarded < LINGER_BYTES_MAX {
        match stream.read(&mut scrap).await? {
            0 => break,
            bytes => discarded += bytes,
        }
    }
    Ok(())
}

/// Closes both directions, without waiting for the client.
pub(super) async fn close(wire: &mut impl Wire) {
    // Over TLS this says close_notify (RFC 8446, section 6.1).
    let _closed = timeout(LINGER, wire.shutdown()).await;
}

/// Closes without leaving the kernel to send what the client does not read.
pub(super) fn reset(wire: &mut impl Wire) {
    // Fails only on a socket that is closed already.
    let _closed = wire.stream().stream().set_zero_linger();
}
