//! Watches files and replaces what was loaded from them.
