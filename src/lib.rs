//! An API-key gateway that runs beside one service and lets in only requests whose credentials allow them.
//!
//! # Life of a request
//!
//! ```text
//! listener   accept → (PROXY protocol) → TLS → HTTP/1.1 or HTTP/2
//! gateway    client address → route → credentials → authentication → authorization → rate limit → forward
//! ```
//!
//! Each step is one file of [`gateway`] and leaves a value which the next step demands. Leaving a step out does not
//! compile. A step that says no ends the request with a [`gateway::rejection::Rejection`].
//!
//! The modules below are declared in the order in which they are best read. A part uses parts of lower floors only;
//! `tests/house.rs` reads the sources and says so.

pub mod gateway;

pub mod identity;
pub mod keys;
pub mod limits;
pub mod listener;
pub mod otlp;
pub mod webhooks;

pub mod management;
pub mod probes;

pub mod config;
pub mod reload;

pub mod app;
pub mod cli;

pub mod address;
pub mod capacity;
pub mod coalescing;
pub mod document;
pub mod frames;
pub mod json;
pub mod locks;
pub mod moment;
pub mod mount;
pub mod outbound;
pub mod priority;
pub mod secret;
pub mod telemetry;
pub mod template;
pub mod ticks;
