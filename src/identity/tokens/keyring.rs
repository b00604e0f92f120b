//! The signing keys in force: what the directory holds, in the order of their schedule.
//!
//! A ring is never changed: tending makes another one. Which of its keys signs depends on the time alone, so that all
//! processes that share the directory change over in the same second.

use bytes::Bytes;

use super::error::FileProblem;
use super::jwk;
use super::key_files::{self, KeyFile, Lock};
use super::schedule::{Age, Schedule};
use super::settings::TokenSettings;
use super::signing_key::SigningKey;
use super::verifier::Verifier;

/// Signing keys, from the oldest to the youngest.
#[derive(Debug)]
pub(super) struct Ring {
    keys: Vec<SigningKey>,
    ages: Vec<Age>,
    schedule: Schedule,
    jwks: Bytes,
}

/// What tending has led to.
#[derive(Debug)]
pub(super) struct Tended {
    /// The keys that are there now; none if the directory cannot be read.
    pub(super) ring: Option<Ring>,
    /// What went wrong first.
    pub(super) problem: Option<FileProblem>,
}

/// Reads the keys; makes the next one when it is time; deletes those of ours that are over.
pub(super) fn tend(settings: &TokenSettings, now_s: u64) -> Tended {
    let schedule = Schedule::new(settings);
    let mut files = match key_files::read(&settings.keys) {
        Ok(files) => files,
        Err(problem) => return Tended { ring: None, problem: Some(problem) },
    };
    let mut problem = None;
    let work = |files: &[KeyFile]| {
        let ages = ages(files, settings);
        let over = |(index, file): &(usize, &KeyFile)| file.ours && schedule.is_over(&ages, *index, now_s);
        let over: Vec<usize> = files.iter().enumerate().filter(over).map(|(index, _)| index).collect();
        (schedule.successor_is_due(&ages, now_s), over)
    };
    if work(&files) != (false, Vec::new()) {
        // Another process may have done it in the meantime: what counts is what is there under the lock.
        let done = Lock::take(&settings.keys).and_then(|lock| {
            let found = key_files::read(&settings.keys)?;
            let (due, over) = work(&found);
            if due {
                lock.make(settings.algorithm, now_s)?;
            }
            over.into_iter().try_for_each(|index| lock.delete(&found[index]))?;
            key_files::read(&settings.keys)
        });
        match done {
            Ok(changed) => files = changed,
            Err(error) => problem = Some(error),
        }
    }
    Tended { ring: Some(Ring::new(files, settings, schedule, now_s)), problem }
}

/// Whether the keys could be read and the first one be made. Makes nothing.
///
/// # Errors
///
/// What is wrong with the directory or a file.
pub(super) fn check(settings: &TokenSettings) -> Result<(), FileProblem> {
    key_files::read(&settings.keys).map(drop)
}

fn ages(files: &[KeyFile], settings: &TokenSettings) -> Vec<Age> {
    let age = |file: &KeyFile| Age { made_s: file.made_s, wanted: file.key.algorithm() == settings.algorithm };
    files.iter().map(age).collect()
}

impl Ring {
    fn new(files: Vec<KeyFile>, settings: &TokenSettings, schedule: Schedule, now_s: u64) -> Self {
        let all = ages(&files, settings);
        let (mut keys, mut ages) = (Vec::new(), Vec::new());
        for (index, file) in files.into_iter().enumerate() {
            if !schedule.is_over(&all, index, now_s) {
                keys.push(file.key);
                ages.push(all[index]);
            }
        }
        let public = keys.iter().filter_map(|key| Some((key.id(), key.public()?)));
        let jwks = Bytes::from(jwk::write_set(public));
        Self { keys, ages, schedule, jwks }
    }

    /// The key that signs now; none if there is none of the wanted algorithm.
    pub(super) fn signer(&self, now_s: u64) -> Option<&SigningKey> {
        self.schedule.signs(&self.ages, now_s).and_then(|index| self.keys.get(index))
    }

    /// The key of this name.
    pub(super) fn find(&self, id: &str) -> Option<&Verifier> {
        self.keys.iter().find(|key| key.id() == id).map(SigningKey::verifier)
    }

    /// The public keys, as a JWK Set.
    pub(super) fn jwks(&self) -> Bytes {
        self.jwks.clone()
    }

    /// Whether these are the same keys, to be used at the same times.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let ids = |ring: &Self| ring.keys.iter().map(|key| key.id().to_owned()).collect::<Vec<_>>();
        self.ages == other.ages && ids(self) == ids(other)
    }
}
