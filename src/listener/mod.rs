//! Bytes to requests: accept, PROXY protocol, TLS, HTTP.
