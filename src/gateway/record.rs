//! What happened to one request: kept from its first byte to its last, then written once, to the metrics and to the
//! access log.
//!
//! The record travels with the request and then inside the body of its response. It is written when it is dropped, so
//! there is no way for a request to end unrecorded: not by an error, not by a client that hangs up.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};

use super::authentication::Principal;
use super::client_address::ClientAddress;
use super::correlation;
use super::desk::Desk;
use super::message::Target;
use super::progress::BodyError;
use super::rejection::{Reason, Rejection};
use super::room::{AddressOverloaded, Overloaded, Place};
use super::route::{Accepted, Access, Destination, Route};
use super::seen::Seen;
use super::spans::{Ended, Trace};
use super::upload::Upload;
use super::upstream::Upstream;
use crate::identity::User;
use crate::keys::Key;
use crate::limits::Quota;
use crate::listener::Visit;
use crate::moment::{Moment, monotonic_ns};
use crate::telemetry::access_log::{AccessLine, protocol_name};
use crate::telemetry::metrics::{MethodLabel, RouteLabel, Sample, Source, TunnelSide};

/// The status that stands in the log for a client that went away before it had its response. It is never sent.
const CLIENT_GONE: u16 = 499;

/// The route in the log of a request that took none.
pub(super) const NO_ROUTE: &str = "none";

/// The record of one request.
pub struct Record {
    desk: Arc<Desk>,
    place: Option<Place>,
    visit: Option<Visit>,
    started: Moment,
    method: Method,
    version: Version,
    client: std::net::IpAddr,
    target: Option<Target>,
    route: Option<(RouteLabel, Arc<str>)>,
    of_operation: bool,
    request_id: Option<HeaderValue>,
    key: Option<Arc<Key>>,
    user: Option<Arc<User>>,
    authenticated: bool,
    tokens_alone: bool,
    content_read: bool,
    refused_key: Option<Arc<str>>,
    quota: Option<Quota>,
    status: u16,
    source: Source,
    reason: Option<Reason>,
    upload: Option<Arc<Upload>>,
    request_bytes: u64,
    sent_ns: u64,
    answered_ns: u64,
    responded_ns: u64,
    response_bytes: u64,
    tunnels: bool,
    trace: Option<Box<Trace>>,
}

impl Record {
    /// Opens the record of a request that has just arrived.
    pub fn open<B>(desk: &Arc<Desk>, request: &Request<B>, peer: std::net::IpAddr, now: Moment) -> Box<Self> {
        desk.shard.in_flight_add(1);
        Box::new(Self {
            desk: Arc::clone(desk),
            place: None,
            visit: None,
            started: now,
            method: request.method().clone(),
            version: request.version(),
            client: peer,
            // As the client wrote it, until it is known to be well formed.
            target: desk.tells_targets().then(|| Target::unchecked(request)),
            route: None,
            of_operation: false,
            request_id: None,
            key: None,
            user: None,
            authenticated: false,
            tokens_alone: false,
            content_read: false,
            refused_key: None,
            quota: None,
            status: CLIENT_GONE,
            source: Source::Keygate,
            reason: None,
            upload: None,
            request_bytes: 0,
            sent_ns: 0,
            answered_ns: 0,
            responded_ns: 0,
            response_bytes: 0,
            tunnels: false,
            trace: None,
        })
    }

    /// Takes a place among the requests in flight, which is given back when the record is dropped.
    ///
    /// # Errors
    ///
    /// [`AddressOverloaded`] if the visit is one too many, [`Overloaded`] if `max` requests are in flight.
    pub fn find_room(&mut self, visit: &Visit, max: usize) -> Result<(), Rejection> {
        if visit.is_one_too_many() {
            return Err(AddressOverloaded.into());
        }
        self.place = Some(self.desk.room.enter(self.desk.worker, max).ok_or(Overloaded)?);
        Ok(())
    }

    /// Keeps the request counted among those of its client until the record is dropped.
    pub fn keep(&mut self, visit: Visit) {
        self.visit = Some(visit);
    }

    /// The worker's desk.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Notes what is asked for.
    pub fn asked_for(&mut self, target: &Target) {
        if self.desk.tells_targets() {
            self.target = Some(target.clone());
        }
    }

    /// Names the request (see [`correlation::name`]), and begins its trace if it is sampled; the upstream is told so.
    pub fn name(&mut self, fields: &mut HeaderMap, seen: Seen, request_id: &HeaderName, encrypted: bool) {
        let named = correlation::name(fields, seen, request_id, &self.desk.names);
        if let Some(tracer) = &self.desk.tracer {
            self.trace = Trace::begin(tracer, &self.desk.names, &named, fields, encrypted);
        }
        self.request_id = Some(named.request_id);
    }

    /// Notes that a proxy asks about a request, as it says that request is, of this client.
    pub fn asks_about<B>(&mut self, asked: &Request<B>, client: ClientAddress) {
        self.method = asked.method().clone();
        if self.desk.tells_targets() {
            self.target = Some(Target::unchecked(asked));
        }
        self.from_client(client);
    }

    /// The name of the request.
    #[must_use]
    pub const fn request_id(&self) -> Option<&HeaderValue> {
        self.request_id.as_ref()
    }

    /// Notes who is held responsible.
    pub const fn from_client(&mut self, client: ClientAddress) {
        self.client = client.ip();
    }

    /// Notes the route.
    pub fn routed(&mut self, route: &Route) {
        self.route = Some((route.label, Arc::clone(&route.name)));
        self.of_operation = matches!(route.destination, Destination::Operation(_));
        self.tokens_alone = matches!(route.access, Access::Credentials(Accepted::TOKEN));
    }

    /// Whether its route leads to an operation.
    #[must_use]
    pub const fn is_of_operation(&self) -> bool {
        self.of_operation
    }

    /// Whether its route accepts tokens of users and nothing else.
    #[must_use]
    pub const fn asked_for_tokens_alone(&self) -> bool {
        self.tokens_alone
    }

    /// Notes that it is known whom the request is from, which may be nobody where nobody need be known.
    pub fn authenticated(&mut self, principal: &Principal) {
        self.authenticated = true;
        self.key = principal.key().cloned();
        self.user = principal.user().cloned();
    }

    /// Whether it is known whom the request is from.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether all of the request's content was read before it went anywhere.
    #[must_use]
    pub const fn has_read_content(&self) -> bool {
        self.content_read
    }

    /// Who is held responsible: the peer, until more is known.
    #[must_use]
    pub const fn client(&self) -> std::net::IpAddr {
        self.client
    }

    /// Notes what is left of the most constrained limit.
    pub const fn counted(&mut self, quota: Option<Quota>) {
        if quota.is_some() {
            self.quota = quota;
        }
    }

    /// What is left of the most constrained limit.
    #[must_use]
    pub const fn quota(&self) -> Option<Quota> {
        self.quota
    }

    /// Notes that the request is handed to this upstream now, and where its content can be followed.
    pub fn forwarding(&mut self, upload: Option<Arc<Upload>>, upstream: &Arc<Upstream>) {
        if let Some(trace) = &mut self.trace {
            trace.asks(upstream);
        }
        self.upload = upload;
        self.sent_ns = monotonic_ns();
    }

    /// Notes that the upstream has answered, or failed to.
    pub fn upstream_done(&mut self) {
        self.answered_ns = monotonic_ns();
    }

    /// Notes content that was read whole before it was known where it goes.
    pub const fn received(&mut self, bytes: u64) {
        self.content_read = true;
        self.request_bytes = bytes;
    }

    /// Notes a refusal.
    pub fn refused(&mut self, rejection: &Rejection) {
        let reason = rejection.row().reason;
        self.reason = Some(reason);
        self.desk.shard.rejected(reason as usize);
        if let Rejection::Authentication(error) = rejection {
            self.refused_key = error.key_id().cloned();
        }
        rejection.tell_operator(self.id());
    }

    /// Notes that the request goes on in another protocol. Its record is kept for long, and must not hold on to the head
    /// that it was read from.
    pub fn tunnels(&mut self) {
        self.tunnels = true;
        self.target = self.target.as_ref().map(Target::detached);
        // Nobody waits for hours to hear of it: its span ends with the handshake.
        self.tell_trace(self.head_ns());
    }

    /// Notes bytes that went through its tunnel.
    pub const fn moved(&mut self, from: TunnelSide, bytes: u64) {
        match from {
            TunnelSide::Client => self.request_bytes += bytes,
            TunnelSide::Upstream => self.response_bytes += bytes,
        }
    }

    /// Notes the head of the response, as it goes to the client.
    pub fn responded(&mut self, status: StatusCode, source: Source) {
        self.status = status.as_u16();
        self.source = source;
        self.responded_ns = monotonic_ns();
    }

    /// Notes content that was handed to the client's connection.
    pub const fn sent(&mut self, bytes: u64) {
        self.response_bytes += bytes;
    }

    /// Notes that the response could not be sent whole because the upstream broke it off.
    pub fn response_broke_off(&mut self, error: &BodyError) {
        let reason = match error {
            BodyError::Stalled => Reason::UpstreamTimeout,
            BodyError::Broken(_) | BodyError::TooLarge | BodyError::EmptyTrailers | BodyError::CutShort => {
                Reason::UpstreamReset
            }
        };
        self.reason = Some(reason);
        self.desk.shard.rejected(reason as usize);
        tracing::warn!(request_id = self.id(), reason = reason.word(), "the response broke off: {error}");
    }

    /// The name of the request as text; empty before it has one.
    fn id(&self) -> &str {
        self.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default()
    }

    /// Time the upstream took, from the request's hand-over to its answer.
    const fn upstream_ns(&self) -> Option<u64> {
        match (self.sent_ns, self.answered_ns) {
            (0, _) | (_, 0) => None,
            (sent_ns, answered_ns) => Some(answered_ns.saturating_sub(sent_ns)),
        }
    }

    fn write(&mut self) {
        if self.responded_ns == 0 {
            self.reason = Some(Reason::ClientGone);
            self.desk.shard.rejected(Reason::ClientGone as usize);
            self.responded_ns = monotonic_ns();
        }
        let request_ns = self.started.elapsed_ns();
        let line = self.line(request_ns);
        self.desk.shard.record(&Sample {
            route: self.route.as_ref().map_or(RouteLabel::NONE, |(label, _)| *label),
            method: MethodLabel::from(&self.method),
            status: self.status,
            source: self.source,
            // How long a tunnel lasts says nothing of how quickly requests are answered.
            request_ns: if self.tunnels { self.head_ns() } else { request_ns },
            upstream_ns: line.upstream_ns,
            overhead_ns: line.overhead_ns,
            request_bytes: line.request_bytes,
            response_bytes: line.response_bytes,
        });
        if let Some(access_log) = &self.desk.access_log {
            access_log.write(self.desk.worker, &line);
        }
        self.tell_trace(request_ns);
    }

    /// Nanoseconds until the head of the response.
    const fn head_ns(&self) -> u64 {
        self.responded_ns.saturating_sub(self.started.monotonic_ns)
    }

    /// What the access log says of it, if it ends after so many nanoseconds.
    fn line(&self, duration_ns: u64) -> AccessLine<'_> {
        let target = self.target.as_ref();
        let upstream_ns = self.upstream_ns();
        let authority = target.and_then(Target::authority);
        AccessLine {
            unix_ns: self.started.unix_ns,
            request_id: self.id(),
            client: self.client,
            method: self.method.as_str(),
            host: authority.map(|authority| authority.as_str().as_bytes()),
            path: target.map_or("", |target| target.path_and_query.path()),
            protocol: protocol_name(self.version),
            route: self.route.as_ref().map_or(NO_ROUTE, |(_, name)| name),
            status: self.status,
            source: self.source.as_str(),
            reason: self.reason.map(Reason::word),
            user: self.user.as_ref().map(|user| &*user.id),
            key_id: self.key.as_ref().map(|key| key.id()).or(self.refused_key.as_deref()),
            duration_ns,
            upstream_ns,
            overhead_ns: self.head_ns().saturating_sub(upstream_ns.unwrap_or(0)),
            request_bytes: self.upload.as_ref().map_or(self.request_bytes, |upload| upload.bytes()),
            response_bytes: self.response_bytes,
        }
    }

    /// Hands on the spans, if the request is sampled and they were not yet.
    fn tell_trace(&mut self, ended_ns: u64) {
        let Some(trace) = self.trace.take() else { return };
        let Some(tracer) = &self.desk.tracer else { return };
        let since = |ns: u64| ns.saturating_sub(self.started.monotonic_ns);
        let answered_ns = if self.answered_ns == 0 { ended_ns } else { since(self.answered_ns) };
        tracer.take(trace.spans(
            tracer,
            Ended {
                line: &self.line(ended_ns),
                method: &self.method,
                authority: self.target.as_ref().and_then(Target::authority),
                asked_ns: (self.sent_ns != 0).then(|| (since(self.sent_ns), answered_ns)),
                ended_ns,
            },
        ));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            self.desk.room.leave(self.desk.worker, place);
        }
        drop(self.visit.take());
        // Only now: who reads that there is room finds it.
        self.desk.shard.in_flight_add(-1);
        self.write();
    }
}
