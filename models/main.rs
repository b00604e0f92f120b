//! Buckets of limits and the key store with every order of their threads, as far as chance leads (shuttle).
//!
//! The sources of `limits` and `keys` are those of the program; only `locks` is another one, at each use of which the
//! model decides who goes on. A promise that is broken in any order that was tried is told with that order.
//!
//! It is a program and no test, because sources that are compiled for tests would bring their own along.

#![allow(dead_code, unreachable_pub, missing_docs, unused_imports, reason = "only a part of each source is used here")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout, reason = "a broken promise ends it")]

use keygate::{address, capacity, moment, secret};

mod locks;

#[path = "../src/limits/mod.rs"]
mod limits;

mod keys;

mod bucket;
mod store;

use limits::Algorithm;

/// Orders that are tried of each model.
const ORDERS: usize = 250;

fn main() {
    let begun = std::time::Instant::now();
    let mut models = 0;
    for algorithm in [Algorithm::TokenBucket, Algorithm::RollingWindow] {
        for (promise, model) in bucket::MODELS_OF_BOTH.iter().copied() {
            models += check(&format!("{algorithm}: {promise}"), move || model(algorithm));
        }
    }
    for (promise, model) in bucket::MODELS_OF_WINDOWS.iter().chain(store::MODELS).copied() {
        models += check(promise, model);
    }
    println!("{models} models, {} orders of each, {:.1} s", 2 * ORDERS, begun.elapsed().as_secs_f64());
}

/// Tries the orders of one model; ends with the first that breaks its promise.
fn check(promise: &str, model: impl Fn() + Clone + Send + Sync + 'static) -> usize {
    println!("{promise}");
    shuttle::check_random(model.clone(), ORDERS);
    // Few changes of threads at unlikely places find what chance alone does not.
    shuttle::check_pct(model, ORDERS, 3);
    1
}
