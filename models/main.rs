//! The bucket and the key store with every order of their threads, as far as chance leads (shuttle).
//!
//! The sources of `limits` and `keys` are those of the program; only `locks` is another one, at each use of which the
//! model decides who goes on. A promise that is broken in any order that was tried is told with that order.
//!
//! It is a program and no test, because sources that are compiled for tests would bring their own along.

#![allow(dead_code, unreachable_pub, missing_docs, unused_imports, reason = "only a part of each source is used here")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout, reason = "a broken promise ends it")]

use keygate::{address, moment, secret};

mod locks;

#[path = "../src/limits/mod.rs"]
mod limits;

mod keys;

mod bucket;
mod store;

/// Orders that are tried of each model.
const ORDERS: usize = 250;

fn main() {
    let models: Vec<(&str, fn())> = bucket::MODELS.iter().chain(store::MODELS).copied().collect();
    let begun = std::time::Instant::now();
    for (promise, model) in models.iter().copied() {
        println!("{promise}");
        shuttle::check_random(model, ORDERS);
        // Few changes of threads at unlikely places find what chance alone does not.
        shuttle::check_pct(model, ORDERS, 3);
    }
    println!("{} models, {} orders of each, {:.1} s", models.len(), 2 * ORDERS, begun.elapsed().as_secs_f64());
}
