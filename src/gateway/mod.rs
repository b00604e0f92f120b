//! The road: every step of a request, in order.
//!
//! ```text
//! message → client address → environment → route → credentials → authentication → authorization → rate limit
//!         → forward | operation | verdict
//! ```
//!
//! Each step is one file and leaves a value that the next one takes: [`credentials::Credentials`],
//! [`authentication::Principal`], [`authorization::Permit`], [`rate_limit::Admission`]. Only the step itself can make
//! its value, and [`forward::forward`], [`operation`] and [`verdict`] demand the
//! last one. A step that says no returns a [`rejection::Rejection`].
//!
//! A request that a proxy asks about ([`question`]) takes the same road, and the proxy is told at its end.

pub mod message;
pub mod client_address;
pub mod environment;
pub mod route;
pub mod credentials;
pub mod authentication;
pub mod authorization;
pub mod rate_limit;
pub mod forward;
pub mod operation;

pub mod reason;
pub mod rejection;
pub mod refusal;
pub mod cors;

pub mod policy;

pub mod arriving;
pub mod body;
pub mod claim;
pub mod content;
pub mod correlation;
pub mod desk;
pub mod fields;
pub mod heard;
pub mod hops;
pub mod identity;
pub mod parameter;
pub mod path;
pub mod pattern;
pub mod permission;
pub mod progress;
pub mod question;
pub mod record;
pub mod room;
pub mod scrap;
pub mod seen;
pub mod spans;
pub mod trailers;
pub mod tunnel;
pub mod unread;
pub mod upgrade;
pub mod upload;
pub mod upstream;
pub mod verdict;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response, Version};
use hyper::body::Incoming;

use crate::identity::Directory;
use crate::keys::KeyStore;
use crate::listener::{ConnectionInfo, Visit};
use crate::moment::Moment;
use crate::telemetry::metrics::Source;

use arriving::Arriving;
use authentication::{Asked, Known, authenticate, check_before_content};
use authorization::{To, authorize};
use body::ResponseBody;
use claim::Claim;
use client_address::ClientAddress;
use content::{Budget, Content};
use credentials::Credentials;
use desk::Desk;
use environment::Environment;
use fields::Origin;
use forward::{Forwarded, announced_bytes, forward};
use heard::{Heard, answer_as_last, leave_content_out, preflight_of};
use hops::{Hop, count_down};
use message::{Target, check_expectation};
use operation::error::OperationError;
use operation::{Call, Services};
use policy::Policy;
use question::{Asking, check_route};
use rate_limit::{admit, charge_guess, charge_unauthenticated, peek, refuse_guesses};
use record::Record;
use rejection::Rejection;
use route::Access;
use seen::Seen;
use tunnel::Tunnel;
use upgrade::Handshake;

/// The gateway as one worker runs it. Policy and keys are shared by all workers; the desk is the worker's own.
pub struct Gateway {
    /// The policy in force.
    pub policy: Arc<ArcSwap<Policy>>,
    /// The keys in force.
    pub keys: Arc<KeyStore>,
    /// The users, logins and sessions in force.
    pub directory: Arc<Directory>,
    /// What operations work with, where there is a store.
    pub services: Option<Arc<Services>>,
    /// What may be held of content that has to be seen whole.
    pub budget: Arc<Budget>,
    /// Set when the process is about to end, and its upstream perhaps has already.
    pub draining: Arc<AtomicBool>,
    /// Where this worker's records go.
    pub desk: Arc<Desk>,
}

impl Gateway {
    /// Answers one request, always; or a question about one, at a door for these.
    ///
    /// The twin of [`Gateway::serve`]: it reads the clock, keeps the record, turns a refusal into a response and adds
    /// what every response bears, so that the road itself stays free of all of these.
    pub async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<ConnectionInfo>,
        asking: Option<Arc<Asking>>,
    ) -> Response<ResponseBody> {
        let now = Moment::now();
        // One policy for the whole request: a reload in the middle must not mix old routes with new limits.
        let policy = self.policy.load_full();
        let asking = asking.as_deref();
        let seen = Seen::of(request.headers());
        let heard = Heard::of(&request, seen, &policy);
        let mut record = Record::open(&self.desk, &request, connection.client.ip(), now);
        let request = Arriving::of(request);

        let visit = Visit::begin(connection, policy.in_flight_per_address_max);
        let door = Entrance { visit: &visit, asking, seen };
        let (mut response, source) = match self.serve(request, door, &policy, now, &mut record).await {
            Ok((mut response, source)) => {
                if source == Source::Keygate {
                    heard.open(&policy, &mut response);
                }
                (response, source)
            }
            Err(rejection) => {
                let rejection = charge(rejection, &policy, now, &mut record).while_draining(&self.draining);
                record.refused(&rejection);
                let source = if asking.is_some() { Source::Check } else { Source::Keygate };
                (heard.refuse(&rejection, &policy, &record, asking), source)
            }
        };

        if heard.head_alone && source != Source::Upstream {
            leave_content_out(&mut response);
        }
        let fields = response.headers_mut();
        if let Some(quota) = record.quota() {
            policy.rate_limit_fields.write(fields, quota, now);
        }
        if let Some(request_id) = record.request_id() {
            fields.insert(&policy.forwarding.request_id, request_id.clone());
        }
        record.keep(visit);
        record.responded(response.status(), source);
        response.body_mut().carry(record);
        response
    }

    /// The road: every step of a request, in order, and nothing else.
    async fn serve(
        self: &Arc<Self>,
        mut request: Request<Arriving>,
        entrance: Entrance<'_>,
        policy: &Policy,
        now: Moment,
        record: &mut Record,
    ) -> Result<(Response<ResponseBody>, Source), Rejection> {
        let Entrance { visit, asking, seen } = entrance;
        let connection = visit.connection();
        record.name(request.headers_mut(), seen, &policy.forwarding.request_id, connection.tls.is_some());
        record.find_room(visit, policy.in_flight_max)?;

        let Arrived { target, client, was_connect } = arrive(&mut request, entrance, policy, record)?;
        let environment = policy.environments.find(target.authority(), connection.local)?;
        let cors = policy.cors.as_ref();
        let preflight = cors.and_then(|cors| cors.preflight_for(request.method(), request.headers()));
        let route = policy.routes.find(preflight.as_ref().unwrap_or(request.method()), &target)?;
        record.routed(route);
        asking.map_or(Ok(()), |_| check_route(route))?;

        if route.asks_for_secrets() && preflight.is_none() {
            refuse_guesses(&policy.guesses, client.ip(), now)?;
        }
        let credentials = Credentials::take_from(request.headers_mut(), &policy.places);
        let access = if preflight.is_some() { &Access::Public } else { &route.access };
        let (path, known) = (target.path_and_query.path(), self.known(policy, environment, now));
        check_before_content(access, Asked { route, path, fields: request.headers(), content: None }, known)?;
        let mut request = request.map(Content::Coming);
        if matches!(access, Access::Signature(_)) {
            request = read_whole(request, policy.signed_bytes_max, policy, &self.budget, record).await?;
        }
        let content = whole(&request).map(Bytes::as_ref);
        let asked = Asked { route, path, fields: request.headers(), content };
        let principal = authenticate(&credentials, access, asked, known)?;
        principal.used(now);
        record.authenticated(&principal);

        let permit = authorize(principal.clone(), route, environment, client, &policy.roles)
            .inspect_err(|_| record.counted(peek(&route.limits, &principal, client, now)))?;
        let admission = admit(permit, now).inspect_err(|limited| record.counted(Some(limited.quota)))?;
        record.counted(admission.quota());

        check_expectation(&request, seen)?;
        // Only now: to whom a route is closed it says nothing of what it would go on in.
        let handshake = Handshake::of(&request, was_connect, route.websocket)?;
        if let Some(asking) = asking {
            upgrade::check_asked(request.headers(), route.websocket)?;
            return Ok((verdict::pass(asking, admission, &request, policy), Source::Check));
        }
        match admission.permit().destination() {
            To::Upstream(_) if count_down(&mut request)? == Hop::Last => {
                Ok((answer_as_last(&request, policy.routes.allowed(&target))?, Source::Keygate))
            }
            To::Upstream(upstream) => {
                let origin = entrance.origin(request.version(), &target, handshake);
                let forwarding = &policy.forwarding;
                let response = match forward(request, &origin, admission, upstream, forwarding, record).await? {
                    Forwarded::Response(response) => response,
                    Forwarded::Switched(head, switched) => {
                        let claim = Claim::new(self, &credentials, &target, client, connection.local);
                        let tunnel = Tunnel::new(switched, claim, forwarding.tunnel_timeouts);
                        head.map(|()| ResponseBody::Tunnel(Some(Box::new(tunnel))))
                    }
                };
                Ok((response, Source::Upstream))
            }
            To::Operation(_) if preflight.is_some() => Ok((preflight_of(&request), Source::Keygate)),
            To::Operation(operation) => {
                let services = self.services.as_deref().ok_or_else(OperationError::no_store)?;
                // Only now: who may not do it need not send it (RFC 9110, section 10.1.1).
                let request = read_whole(request, operation::CONTENT_BYTES_MAX, policy, &self.budget, record).await?;
                let call = Call { admission, target: &target, request: &request, policy, services, now };
                // Boxed, so that the road of every other request is not as wide as the widest operation.
                Ok((Box::pin(operation.perform(call)).await?, Source::Keygate))
            }
        }
    }

    /// What credentials are held against.
    fn known<'k>(&'k self, policy: &'k Policy, environment: &'k Environment, now: Moment) -> Known<'k> {
        Known {
            keys: &self.keys,
            format: &policy.secret_format,
            directory: &self.directory,
            tokens: policy.tokens.as_deref(),
            webhooks: policy.webhooks.as_deref(),
            environment,
            now,
        }
    }
}

/// Where a request came in: over which connection, and at a door for requests (`None`) or for questions about them.
#[derive(Clone, Copy)]
struct Entrance<'c> {
    visit: &'c Visit,
    asking: Option<&'c Asking>,
    /// The fields that it came with.
    seen: Seen,
}

impl<'c> Entrance<'c> {
    /// Where a request for `target` came from.
    fn origin(&self, version: Version, target: &'c Target, handshake: Option<Handshake>) -> Origin<'c> {
        let Self { visit, seen, .. } = *self;
        let connection = visit.connection();
        Origin {
            peer: connection.client.ip(),
            peer_text: &connection.client_text,
            tls: connection.tls.is_some(),
            version,
            target,
            seen,
            handshake,
        }
    }
}

/// What is asked for, and by whom.
struct Arrived {
    target: Target,
    client: ClientAddress,
    was_connect: bool,
}

/// The first two steps: one meaning, and one client. Of a question both are those of the request it asks about.
fn arrive(
    request: &mut Request<Arriving>,
    Entrance { visit, asking, seen }: Entrance<'_>,
    policy: &Policy,
    record: &mut Record,
) -> Result<Arrived, Rejection> {
    let connection = visit.connection();
    policy.head_maxima.check(request)?;
    let proxies = &policy.forwarding.fields.trusted_proxies;
    let named = asking.map(|asking| asking.read(request, connection.peer.ip(), proxies)).transpose()?;
    if let Some(client) = named {
        record.asks_about(request, client);
    }
    let was_connect = upgrade::as_get(request)?;
    let target = Target::of(request, seen)?;
    record.asked_for(&target);
    let client = match named {
        Some(client) => {
            Asking::check_spelling(request.uri(), &target)?;
            client
        }
        None => proxies.client_address(connection.client.ip(), request.headers())?,
    };
    record.from_client(client);
    Ok(Arrived { target, client, was_connect })
}

/// Reads all of the content: to see whether it is signed, or to do what it asks for.
async fn read_whole(
    request: Request<Content>,
    bytes_max: u64,
    policy: &Policy,
    budget: &Arc<Budget>,
    record: &mut Record,
) -> Result<Request<Content>, Rejection> {
    if announced_bytes(&request).is_some_and(|bytes| bytes > bytes_max) {
        return Err(Rejection::ContentTooLarge { bytes_max });
    }
    let (head, content) = request.into_parts();
    let held = match content {
        Content::Whole(held) => held,
        Content::Coming(arriving) => {
            let time_max = policy.forwarding.request_body.pause;
            let held = content::whole(arriving, head.version, bytes_max, time_max, budget).await;
            held.map_err(|failure| Rejection::of_content(failure, bytes_max))?
        }
    };
    record.received(held.bytes().len() as u64);
    Ok(Request::from_parts(head, Content::Whole(held)))
}

/// The content of a request, if all of it was read.
fn whole(request: &Request<Content>) -> Option<&Bytes> {
    match request.body() {
        Content::Whole(held) => Some(held.bytes()),
        Content::Coming(_) => None,
    }
}

/// Counts a request that was refused before anybody knew whom it was from against its address, and one that may have been
/// a guess. Once that allowance is spent, the answer is that and no longer what was wrong.
fn charge(rejection: Rejection, policy: &Policy, now: Moment, record: &mut Record) -> Rejection {
    if matches!(rejection, Rejection::Overloaded(_) | Rejection::AddressOverloaded(_) | Rejection::Question(_)) {
        return rejection;
    }
    let client = record.client();
    if rejection.is_of_guess()
        && !policy.guesses.is_empty()
        && let Err(limited) = charge_guess(&policy.guesses, client, now)
    {
        record.counted(Some(limited.quota));
        return limited.into();
    }
    if record.is_authenticated() {
        return rejection;
    }
    match charge_unauthenticated(&policy.unauthenticated, client, now) {
        Ok(quota) => {
            record.counted(quota);
            rejection
        }
        Err(limited) => {
            record.counted(Some(limited.quota));
            limited.into()
        }
    }
}
