//! One connection, step by step: PROXY header, TLS, choice of the protocol, HTTP, goodbye.
//!
//! One deadline covers the PROXY header and the TLS handshake; from there on the [`watchdog`](super::watchdog) counts.
//! Once a drain has begun, each step before the first request has a short grace only.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, StatusCode};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::accept::Door;
use super::activity::Activity;
use super::crowd::Member;
use super::drain::DrainWatch;
use super::http::{Protocols, Requests, Respond, answered_by_hyper, ended_by_us, take_back};
use super::proxy_protocol::{canonical, client_behind};
use super::rest::rest;
use super::socket::{Socket, Wire};
use super::tls::{TlsStore, failure, tls_info};
use super::watchdog::{Ending, Watchdog};
use super::{ConnectionInfo, GivenOver, HandshakeFailure, Observer, Refusal, goodbye};
use crate::moment::monotonic_ns;

/// What every HTTP/2 client says first (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that was accepted.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// Its place among those of its client, if it is known by now whose it is.
    pub(super) member: Option<Arc<Member>>,
    pub(super) protocols: Arc<Protocols>,
}

/// A connection on which HTTP can begin.
struct Ready<T> {
    wire: T,
    info: Arc<ConnectionInfo>,
    protocols: Arc<Protocols>,
    /// When it was ready, in monotonic nanoseconds.
    opened: u64,
}

/// Serves a connection to its end. Whatever goes wrong is the observer's to hear, and nobody else's.
pub(super) async fn converse<S: Respond, O: Observer>(door: Arc<Door<S, O>>, arrival: Arrival) {
    let Arrival { stream, peer, member, protocols } = arrival;
    // Fails only on a connection that is gone already.
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let deadline = after(protocols.settings.timeouts.tls_handshake);
    let mut socket = Socket::new(stream);

    let client = match introduce(&mut socket, peer, &protocols, &door.drain, deadline).await {
        Ok(client) => client,
        Err(refusal) => return door.observer.refused(refusal),
    };
    // Whom a balancer speaks for is known only now. It has had its place among all connections, and keeps it.
    let Some(member) = member.or_else(|| door.drain.crowds().join(client.ip(), &protocols.settings)) else {
        return door.observer.refused(Refusal::AddressConnectionsMax);
    };
    // Held to the end of the connection, also when nothing needs to be known about it any more.
    let _member = Arc::clone(&member);
    let (client_text, local) = (text_of(client.ip()), canonical(local));
    let info = ConnectionInfo { peer, client, client_text, local, tls: None, worker: door.worker, member };

    // Boxed, so that an idle connection holds no more than its own branch needs.
    match door.tls.clone() {
        None => Box::pin(converse_in_the_clear(door, socket, info, protocols)).await,
        Some(store) => Box::pin(converse_over_tls(door, (store, deadline), socket, info, protocols)).await,
    }
}

/// The client behind the peer.
async fn introduce(
    socket: &mut Socket,
    peer: SocketAddr,
    protocols: &Protocols,
    drain: &DrainWatch,
    deadline: Instant,
) -> Result<SocketAddr, Refusal> {
    match &protocols.settings.proxy_protocol {
        None => Ok(peer),
        Some(allowed) => {
            drain.in_time(deadline, client_behind(socket, peer, allowed)).await.unwrap_or(Err(Refusal::ProxyTimeout))
        }
    }
}

async fn converse_in_the_clear<S: Respond, O: Observer>(
    door: Arc<Door<S, O>>,
    mut socket: Socket,
    info: ConnectionInfo,
    protocols: Arc<Protocols>,
) {
    let opened = monotonic_ns();
    let mut is_http2 = false;
    if protocols.settings.prior_knowledge {
        let deadline = after(protocols.settings.timeouts.request_head);
        let mut read = BytesMut::with_capacity(PREFACE.len());
        let in_time = door.drain.in_time(deadline, read_preface(&mut socket, &mut read)).await.is_some();
        if !in_time && read.is_empty() {
            return door.observer.refused(Refusal::Silent);
        }
        if !in_time {
            let words = late(&door.observer, &info);
            return goodbye::refusal(&mut socket, &words, &door.drain).await;
        }
        is_http2 = read[..] == PREFACE[..];
        socket.keep(read.freeze());
    }
    let ready = Ready { wire: socket, info: Arc::new(info), protocols, opened };
    if is_http2 { speak_http2(&door, ready).await } else { speak_http1(&door, ready).await }
}

async fn converse_over_tls<S: Respond, O: Observer>(
    door: Arc<Door<S, O>>,
    (store, deadline): (Arc<TlsStore>, Instant),
    socket: Socket,
    mut info: ConnectionInfo,
    protocols: Arc<Protocols>,
) {
    // Boxed, because both are large, and have a place in this future for each step that they go on to.
    let handshake = Box::pin(store.acceptor(protocols.settings.http2).accept(socket));
    let wire = match door.drain.in_time(deadline, handshake).await {
        Some(Ok(wire)) => Box::new(wire),
        Some(Err(error)) => return door.observer.handshake_failed(failure(&error)),
        None => return door.observer.handshake_failed(HandshakeFailure::Timeout),
    };
    let session = wire.get_ref().1;
    info.tls = Some(tls_info(session));
    let is_http2 = session.alpn_protocol() == Some(b"h2");

    let ready = Ready { wire, info: Arc::new(info), protocols, opened: monotonic_ns() };
    if is_http2 { speak_http2(&door, ready).await } else { speak_http1(&door, ready).await }
}

/// Reads as far as it takes to tell whether a client speaks HTTP/2 without having asked.
async fn read_preface(socket: &mut Socket, read: &mut BytesMut) {
    while read.len() < PREFACE.len() && PREFACE.starts_with(read) {
        let missing = PREFACE.len() - read.len();
        // An error will show itself again to the next reader.
        match socket.read_buf(&mut (&mut *read).limit(missing)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn speak_http1<T: Wire, S: Respond, O: Observer>(door: &Arc<Door<S, O>>, ready: Ready<T>) {
    let Ready { mut wire, info, protocols, opened } = ready;
    let activity = Arc::new(Activity::new(opened));
    let (ending, early) = loop {
        let requests = Requests { door: Arc::clone(door), info: Arc::clone(&info), activity: Arc::clone(&activity) };
        // Boxed, so that a connection that rests holds none of it.
        let spell = Box::pin(converse_for_a_spell(door, wire, requests, &protocols, opened));
        let (ending, early);
        (wire, ending, early) = spell.await;
        // What was read and is no part of a request can only be empty lines (RFC 9112, section 2.2).
        if !matches!(ending, Ending::Rests) || !early.iter().all(|byte| b"\r\n".contains(byte)) {
            break (ending, early);
        }
        // It is empty, and holds all of hyper's buffer.
        drop(early);
        rest(wire.stream(), &activity, &protocols.settings, &door.drain).await;
    };
    if let (Ending::Finished { result: Ok(()), .. }, Some(takeover)) = (&ending, activity.takeover()) {
        // What hyper could not write before it let go is lost, and what was kept from it as no request is, too. What
        // follows would be read in its place.
        if activity.blocked_after_writes().is_none() && !activity.has_doubt() {
            takeover.go_on(GivenOver { stream: Box::new(wire), early }).await;
        }
        return;
    }
    match ending {
        Ending::Finished { result, idle } => {
            if idle {
                door.observer.closed_when_idle();
            }
            let was_cut = result.as_ref().is_err_and(hyper::Error::is_user);
            let words = report(&door.observer, result, &info);
            if let (Some(words), true) = (words, activity.is_speechless()) {
                return goodbye::refusal(&mut wire, &words, &door.drain).await;
            }
            match (was_cut, idle || activity.has_ended()) {
                // The response is not complete, and must not look as if it were: no close_notify, no orderly end.
                (true, _) if activity.cut_needs_reset() => goodbye::reset(&mut wire),
                (true, _) | (false, true) => {}
                (false, false) => goodbye::linger(&mut wire).await,
            }
        }
        Ending::HeadTimeout => {
            let words = late(&door.observer, &info);
            if activity.head_is_certain() {
                goodbye::refusal(&mut wire, &words, &door.drain).await;
            }
        }
        Ending::Silent => {
            door.observer.refused(Refusal::Silent);
            goodbye::close(&mut wire).await;
        }
        Ending::WriteTimeout => {
            door.observer.refused(Refusal::WriteTimeout);
            goodbye::reset(&mut wire);
        }
        Ending::Overdue => door.observer.closed_when_idle(),
        Ending::Rests => {}
    }
}

/// Speaks HTTP/1.1 until the connection ends or rests. Returns the stream, and what was read of it and not used.
async fn converse_for_a_spell<T: Wire, S: Respond, O: Observer>(
    door: &Arc<Door<S, O>>,
    wire: T,
    requests: Requests<S, O>,
    protocols: &Protocols,
    opened: u64,
) -> (T, Ending, Bytes) {
    let activity = Arc::clone(&requests.activity);
    let mut conversation = protocols.http1(wire, requests);
    let ending = Watchdog::new(&activity, &door.drain, &protocols.settings, opened).watch(&mut conversation).await;
    let (wire, early) = take_back(conversation);
    (wire, ending, early)
}

async fn speak_http2<T: Wire, S: Respond, O: Observer>(door: &Arc<Door<S, O>>, ready: Ready<T>) {
    let Ready { wire, info, protocols, opened } = ready;
    let activity = Arc::new(Activity::new(opened));
    let requests = Requests { door: Arc::clone(door), info, activity: Arc::clone(&activity) };
    let mut conversation = protocols.http2(wire, requests);

    match Watchdog::new(&activity, &door.drain, &protocols.settings, opened).watch(&mut conversation).await {
        // It may look like an orderly end: the client hangs up when it reads the reason.
        Ending::Finished { .. } if activity.is_flooded() => door.observer.refused(Refusal::Http2Flood),
        Ending::Finished { result: Ok(()), idle: true } | Ending::Overdue => door.observer.closed_when_idle(),
        // Only HTTP/1.1 rests.
        Ending::Finished { result: Ok(()), idle: false } | Ending::Rests => {}
        Ending::Finished { result: Err(error), .. } => match ended_by_us(&error, &activity) {
            Some(refusal) => door.observer.refused(refusal),
            None => tracing::debug!(%error, "HTTP/2 connection failed"),
        },
        Ending::HeadTimeout => door.observer.refused(Refusal::HeadTimeout),
        Ending::Silent => door.observer.refused(Refusal::Silent),
        Ending::WriteTimeout => door.observer.refused(Refusal::WriteTimeout),
    }
}

/// Tells the observer of an HTTP/1.1 connection that hyper has ended by itself. Returns what the client should hear.
fn report(observer: &impl Observer, result: hyper::Result<()>, info: &ConnectionInfo) -> Option<Bytes> {
    let error = result.err()?;
    if error.is_parse_version_h2() {
        observer.refused(Refusal::UnexpectedHttp2);
    } else if let Some((status, reason)) = answered_by_hyper(&error) {
        return Some(observer.head_refused(status, reason, info));
    } else {
        tracing::debug!(%error, "HTTP/1.1 connection failed");
    }
    None
}

/// Tells the observer of a head that came too slowly. Returns what the client should hear.
fn late(observer: &impl Observer, info: &ConnectionInfo) -> Bytes {
    observer.refused(Refusal::HeadTimeout);
    observer.head_refused(StatusCode::REQUEST_TIMEOUT, "head_timeout", info)
}

fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    // A duration that no clock can hold is as good as a year.
    now.checked_add(duration).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}

/// An address as a field value. Addresses have only digits, letters, dots and colons.
fn text_of(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
