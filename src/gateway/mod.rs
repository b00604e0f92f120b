//! The road: every step of a request, in order.
