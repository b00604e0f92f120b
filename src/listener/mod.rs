//! Bytes to requests: accept, PROXY protocol, TLS, HTTP.
//!
//! ```text
//! bind          one listening socket for each worker, all at the same address
//! accept        the loop of one socket; more connections than we want are turned away here
//! crowd         how many of them one client has, and how many requests
//! connection    one connection, step by step:
//!                 proxy_protocol   who is behind the load balancer
//!                 tls              which certificate, which client
//!                 http             hyper, and the service that the rest of the program gives us
//!                 watchdog         how long all of this may take
//!                 rest             how little an idle connection holds
//!                 pace             how fast a client must be while it is waited for
//!                 meter            how much of HTTP/2 that asks for nothing is too much
//!                 goodbye          the last words, so that the client hears them
//!                 takeover         or what goes on after HTTP
//! drain         how all of it ends
//! ```
//!
//! Everything a peer sends has a bound in bytes and a bound in time ([`Settings`]); whatever is turned away is told to
//! the [`Observer`], because hyper and TLS answer such peers by themselves and no request would ever show it.
//!
//! Never in this part: what a request means. Two fields are looked at here, and only for whether both frame the same
//! request: hyper forgets that (`framing`).

mod settings;
pub use settings::{Maxima, ProxyProtocol, Settings, Timeouts};

mod bind;
mod chunk_line;
pub use bind::bind;

mod accept;
pub use accept::{Listener, serve};

mod connection;
mod socket;

mod crowd;
pub use crowd::Visit;

pub mod proxy_protocol;

mod tls;
pub use tls::{CertificateFiles, ClientCertificates, TlsProblem, TlsSettings, TlsStore, TlsVersion};

mod activity;
mod framing;
pub use framing::Doubt;
mod goodbye;
mod http;
mod meter;
mod pace;
pub use pace::Pace;
mod resets;
pub use resets::ResetReason;
mod rest;
mod spoken;
mod watchdog;
mod watched;

mod takeover;
pub use takeover::{Duplex, GivenOver, Takeover, TakesOver};

mod drain;
pub use drain::{Drain, DrainWatch};

mod info;
pub use info::{ClientCertificate, ConnectionInfo, TlsInfo};

mod observer;
pub use observer::{HandshakeFailure, Observer, Refusal};

#[cfg(test)]
mod tests;
