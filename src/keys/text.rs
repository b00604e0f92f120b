//! The texts of key files once they were fetched, and how several are parsed at the same time.

use std::collections::VecDeque;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

use super::entry::Entry;
use super::sources::FILE_BYTES_MAX;
use super::{file, map};
use crate::document::{Problem, Problems};

/// Bytes of all key files together from which they are parsed at the same time: some 10,000 keys. For fewer, threads would
/// take longer than they save.
pub(super) const SIDE_BY_SIDE_BYTES_MIN: u64 = 1 << 20;

/// A key file that was fetched.
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) shape: Shape,
}

/// How a file says whose a secret is.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A list of keys ([`mod@file`]).
    List,
    /// A mapping from digest to key ([`map`]).
    Map,
}

impl Text {
    pub(super) fn entries(&self, good: fn(&[Entry]) -> bool) -> Result<Vec<Entry>, Problems> {
        match self.shape {
            Shape::List => file::read(&self.name, &self.text, good),
            Shape::Map => map::entries(&self.name, &self.text),
        }
    }

    pub(super) fn problem(&self, index: usize, field: &str, message: &str) -> Problem {
        match self.shape {
            Shape::List => file::problem_at(&self.name, &self.text, index, field, message),
            Shape::Map => map::problem_at(&self.name, &self.text, index, field, message),
        }
    }
}

/// Parses texts, several at the same time where that is worth it, and hands on what comes of each in their order. Those that
/// are parsed at the same time have [`FILE_BYTES_MAX`] together, so that no more memory is needed than for the largest file
/// there may be. The threads have the priority of the caller's.
pub(super) fn side_by_side(texts: &[Text], mut hand_on: impl FnMut(usize, &Text, Result<Vec<Entry>, Problems>)) {
    let bytes = |text: &Text| text.text.len() as u64;
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(texts.len());
    if threads < 2 || texts.iter().map(bytes).sum::<u64>() < SIDE_BY_SIDE_BYTES_MIN {
        return texts.iter().enumerate().for_each(|(number, text)| hand_on(number, text, text.entries(|_| true)));
    }
    thread::scope(|scope| {
        let (mut next, mut parsing, mut parsing_bytes) = (0, VecDeque::new(), 0);
        for (number, text) in texts.iter().enumerate() {
            while let Some(text) = texts.get(next)
                && (parsing.is_empty() || parsing.len() < threads && parsing_bytes + bytes(text) <= FILE_BYTES_MAX)
            {
                parsing.push_back(scope.spawn(|| text.entries(|_| true)));
                parsing_bytes += bytes(text);
                next += 1;
            }
            let parsed = parsing.pop_front().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            parsing_bytes -= bytes(text);
            // One was begun above if there was none.
            hand_on(number, text, parsed.unwrap_or_else(|| text.entries(|_| true)));
        }
    });
}
