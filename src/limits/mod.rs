//! Rate limits: buckets and windows, and who is counted.
