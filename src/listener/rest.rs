//! A connection that rests: nobody has asked for anything for a while, and hyper has let go of it.
//!
//! With hyper's buffers and all that it knows of a connection, one holds some 20 KiB; without, 8. Most connections of most
//! gateways are idle, kept open by pools; so after a while one is taken back from hyper between two requests, and holds
//! little more than its socket and, over TLS, its session. When something happens hyper gets it again, as if it were new.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

use super::Settings;
use super::activity::Activity;
use super::drain::DrainWatch;
use super::watchdog::nanoseconds;
use crate::coalescing::CoalescedStream;
use crate::moment::monotonic_ns;

/// Waits for whatever may happen to a connection that is idle: the client sends something or hangs up, it has been idle for
/// too long, a drain begins. What it is, and what follows from it, is found out by whoever goes on with the connection.
///
/// To be awaited by a task that is woken when a drain begins.
pub(super) async fn rest(stream: &CoalescedStream, activity: &Activity, settings: &Settings, drain: &DrainWatch) {
    let until = activity.idle_since().saturating_add(nanoseconds(settings.timeouts.idle));
    tokio::select! {
        // An error is told to the next reader as well.
        _ = stream.stream().readable() => {}
        () = sleep(Duration::from_nanos(until.saturating_sub(monotonic_ns()))) => {}
        () = poll_fn(|_| if drain.is_draining() { Poll::Ready(()) } else { Poll::Pending }) => {}
    }
}
