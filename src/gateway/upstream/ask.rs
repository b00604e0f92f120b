//! Asking the upstream on our own account: whether it is there, and how it is.
//!
//! Never in this file: anything of a client. These questions carry no credential and no field but `Host`.

use std::sync::Arc;

use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Request, StatusCode, Version, header};

use super::{Protocol, Upstream, UpstreamError};
use crate::gateway::body::RequestBody;

impl Upstream {
    /// Opens a connection, its TLS included, and closes it.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Connect`], or [`UpstreamError::ConnectTimeout`] after the connect timeout.
    pub async fn reach(&self) -> Result<(), UpstreamError> {
        match tokio::time::timeout(self.settings.connect_timeout, self.connector.connect()).await {
            Ok(connected) => connected.map(drop).map_err(UpstreamError::Connect),
            Err(_) => Err(UpstreamError::ConnectTimeout),
        }
    }

    /// Sends `GET path` over the first pool and returns the status of the answer, whose content is not read.
    ///
    /// # Errors
    ///
    /// As [`Upstream::send`].
    pub async fn ask(self: &Arc<Self>, path: &PathAndQuery) -> Result<StatusCode, UpstreamError> {
        let host = self.settings.endpoint.host().unwrap_or(HeaderValue::from_static("localhost"));
        let mut request = Request::new(RequestBody::empty());
        match self.settings.protocol {
            Protocol::Http1 => {
                *request.uri_mut() = Uri::from(path.clone());
                request.headers_mut().insert(header::HOST, host);
            }
            Protocol::Http2 => {
                let scheme = if self.settings.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
                let authority = host.to_str().unwrap_or("localhost");
                let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path.clone()).build();
                *request.uri_mut() = uri.map_err(|_| UpstreamError::Ambiguous)?;
                *request.version_mut() = Version::HTTP_2;
            }
        }
        // Without its content the connection cannot be used again (HTTP/1.1), or the stream is reset (HTTP/2).
        Ok(self.send(0, request).await?.response.status())
    }
}
