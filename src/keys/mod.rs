//! The key domain: what a key is, where keys come from, how they are found.
