//! The road: every step of a request, in order.
//!
//! ```text
//! message → client address → environment → route → credentials → authentication → authorization → rate limit
//!         → forward | operation
//! ```
//!
//! Each step is one file and leaves a value that the next one takes: [`credentials::Credentials`],
//! [`authentication::Principal`], [`authorization::Permit`], [`rate_limit::Admission`]. Only the step itself can make
//! its value, and both [`forward::forward`] and [`operation`] demand the
//! last one. A step that says no returns a [`rejection::Rejection`].

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
pub mod hops;
pub mod identity;
pub mod parameter;
pub mod path;
pub mod pattern;
pub mod permission;
pub mod progress;
pub mod record;
pub mod room;
pub mod spans;
pub mod trailers;
pub mod tunnel;
pub mod unread;
pub mod upgrade;
pub mod upload;
pub mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, ORIGIN};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};

use crate::identity::Directory;
use crate::keys::KeyStore;
use crate::listener::ConnectionInfo;
use crate::moment::Moment;
use crate::telemetry::metrics::Source;

use arriving::Arriving;
use authentication::{Asked, Known, authenticate, check_before_content};
use authorization::{To, authorize};
use body::ResponseBody;
use claim::Claim;
use content::{Budget, Content};
use cors::Cors;
use credentials::Credentials;
use desk::Desk;
use environment::Environment;
use fields::Origin;
use forward::{Forwarded, announced_bytes, forward};
use hops::{Hop, count_down};
use message::{Target, check_expectation};
use operation::error::OperationError;
use operation::{Call, Services};
use policy::Policy;
use rate_limit::{admit, charge_guess, charge_unauthenticated, peek, refuse_guesses};
use record::Record;
use refusal::{Manner, is_grpc};
use rejection::Rejection;
use route::{Access, NoRoute};
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
    /// Set when the process is about to end: connections are not kept.
    pub draining: Arc<AtomicBool>,
    /// Where this worker's records go.
    pub desk: Arc<Desk>,
}

impl Gateway {
    /// Answers one request, always.
    ///
    /// The twin of [`Gateway::serve`]: it reads the clock, keeps the record, turns a refusal into a response and adds
    /// what every response bears, so that the road itself stays free of all of these.
    pub async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<ConnectionInfo>,
    ) -> Response<ResponseBody> {
        let now = Moment::now();
        // One policy for the whole request: a reload in the middle must not mix old routes with new limits.
        let policy = self.policy.load_full();
        let heard = Heard::of(&request, &policy);
        let mut record = Record::open(&self.desk, &request, connection.client.ip(), now);
        let request = Arriving::of(request);

        let (mut response, source) = match self.serve(request, &connection, &policy, now, &mut record).await {
            Ok((mut response, source)) => {
                if source == Source::Keygate {
                    heard.open(&policy, &mut response);
                }
                (response, source)
            }
            Err(rejection) => {
                let rejection = charge(rejection, &policy, now, &mut record);
                record.refused(&rejection);
                (heard.refuse(&rejection, &policy, &record), Source::Keygate)
            }
        };

        if heard.head_alone && source == Source::Keygate {
            leave_content_out(&mut response);
        }
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let fields = response.headers_mut();
        if let Some(quota) = record.quota() {
            policy.rate_limit_fields.write(fields, quota, now);
        }
        if let Some(request_id) = record.request_id() {
            fields.insert(&policy.forwarding.request_id, request_id.clone());
        }
        if heard.version != Version::HTTP_2 && self.draining.load(Ordering::Relaxed) && !switches {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        record.responded(response.status(), source);
        response.body_mut().carry(record);
        response
    }

    /// The road: every step of a request, in order, and nothing else.
    async fn serve(
        self: &Arc<Self>,
        mut request: Request<Arriving>,
        connection: &ConnectionInfo,
        policy: &Policy,
        now: Moment,
        record: &mut Record,
    ) -> Result<(Response<ResponseBody>, Source), Rejection> {
        record.name(request.headers_mut(), &policy.forwarding.request_id, connection.tls.is_some());
        record.find_room(policy.in_flight_max)?;

        policy.head_maxima.check(&request)?;
        let was_connect = upgrade::as_get(&mut request)?;
        let target = Target::of(&request)?;
        record.asked_for(&target);
        let peer = connection.client.ip();
        let client = policy.forwarding.fields.trusted_proxies.client_address(peer, request.headers())?;
        record.from_client(client);
        let environment = policy.environments.find(target.authority.as_ref(), connection.local)?;
        let cors = policy.cors.as_ref();
        let preflight = cors.and_then(|cors| cors.preflight_for(request.method(), request.headers()));
        let route = policy.routes.find(preflight.as_ref().unwrap_or(request.method()), &target)?;
        record.routed(route);

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

        check_expectation(&request)?;
        // Only now: to whom a route is closed it says nothing of what it would go on in.
        let handshake = Handshake::of(&request, was_connect, route.websocket)?;
        match admission.permit().destination() {
            To::Upstream(_) if count_down(&mut request)? == Hop::Last => {
                Ok((answer_as_last(&request, policy.routes.allowed(&target))?, Source::Keygate))
            }
            To::Upstream(upstream) => {
                let origin = Origin {
                    peer,
                    peer_text: &connection.client_text,
                    tls: connection.tls.is_some(),
                    version: request.version(),
                    target: &target,
                    handshake,
                };
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

/// Answers a request that was meant to go no further than to us (RFC 9110, section 7.6.2): OPTIONS asks what could be
/// asked here. TRACE asks for its own fields, and they are not for every page to see.
fn answer_as_last(request: &Request<Content>, allow: String) -> Result<Response<ResponseBody>, Rejection> {
    if *request.method() != Method::OPTIONS {
        return Err(NoRoute::Method { allow: allow.replace(", TRACE", "") }.into());
    }
    let mut response = Response::new(ResponseBody::fixed(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(allow) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    Ok(response)
}

/// Answers the preflight of a request that goes to no upstream.
fn preflight_of(request: &Request<Content>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::fixed(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = Cors::answer_preflight(&cors::Asked::of(request.headers()));
    response
}

/// Leaves out what we have to say, but for its length: HEAD asks for a head (RFC 9110, section 9.3.2). hyper does so in
/// HTTP/1.1 only. What an upstream sends all the same is not taken by the library that reads it.
fn leave_content_out(response: &mut Response<ResponseBody>) {
    let content = response.body().content();
    if !content.is_empty() {
        response.headers_mut().insert(CONTENT_LENGTH, content.len().into());
        *response.body_mut() = ResponseBody::fixed(Bytes::new());
    }
}

/// What of a request decides how a refusal is written: it is gone by then.
struct Heard {
    version: Version,
    grpc: bool,
    origin: Option<HeaderValue>,
    /// There is content.
    content: bool,
    /// The answer has none, and hyper does not see to that.
    head_alone: bool,
}

impl Heard {
    fn of(request: &Request<Incoming>, policy: &Policy) -> Self {
        let fields = request.headers();
        let origin = policy.cors.as_ref().and_then(|_| fields.get(ORIGIN).cloned());
        let content = !request.body().is_end_stream();
        let version = request.version();
        let head_alone = version == Version::HTTP_2 && *request.method() == Method::HEAD;
        Self { version, grpc: is_grpc(fields), origin, content, head_alone }
    }

    /// Lets the page that asked read what we say, if it may.
    fn open(&self, policy: &Policy, response: &mut Response<ResponseBody>) {
        if let (Some(cors), Some(origin)) = (&policy.cors, &self.origin) {
            cors.open(origin, response.headers_mut());
        }
    }

    fn refuse(&self, rejection: &Rejection, policy: &Policy, record: &Record) -> Response<ResponseBody> {
        let (request_id, tokens_alone) = (record.request_id(), record.asked_for_tokens_alone());
        // No operation speaks gRPC: to whoever asks one, the 200 of a refusal in gRPC would say that it was done.
        let grpc = self.grpc && !record.is_of_operation();
        let mut response = policy.refusals.write(rejection, Manner { request_id, grpc, tokens_alone });
        self.open(policy, &mut response);
        let unread = self.content && !record.has_read_content();
        if (unread || matches!(rejection, Rejection::Message(_))) && self.version != Version::HTTP_2 {
            // RFC 9112, section 9.6: what is left of the content, which nobody will read, ends with the connection. So
            // does what follows a request that can be read in two ways.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Counts a request that was refused before anybody knew whom it was from against its address, and one that may have been
/// a guess. Once that allowance is spent, the answer is that and no longer what was wrong.
fn charge(rejection: Rejection, policy: &Policy, now: Moment, record: &mut Record) -> Rejection {
    if matches!(rejection, Rejection::Overloaded(_)) {
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
