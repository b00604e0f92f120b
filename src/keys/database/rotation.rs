//! Rotation: a successor takes the place of a key, which lives on for a while.
//!
//! Both are good until the predecessor retires, so that its owner can change over without a failed request. They are one
//! lineage, and limits count a lineage: a rotation grants no fresh quota.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::entry::{Entry, Fault};
use super::super::standing::Standing;
use super::error::DatabaseError;
use super::record::KeyRecord;
use super::transaction::{Writer, signed, whole_us};
use crate::secret::Digest;

/// How a key is rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The id of the successor.
    pub id: String,
    /// The SHA-256 of the secret of the successor.
    pub digest: Digest,
    /// The first characters of that secret.
    pub prefix: Option<String>,
    /// How long the predecessor lives on, at most [`Rotation::OVERLAP_MAX`]. Zero: it is revoked at once.
    pub overlap: Duration,
    /// When the successor expires; `None` is when the predecessor would have.
    pub expires: Option<Timestamp>,
}

impl Rotation {
    /// The longest overlap. Who needs longer needs two keys.
    pub const OVERLAP_MAX: Duration = Duration::from_secs(366 * 86_400);
}

impl Writer<'_> {
    /// Makes a successor of the key `id`, with all that the key has but its id and its secret, and gives the key its end:
    /// `overlap` from now, or its own expiry if that is sooner. Without an overlap it is revoked at once. Returns the
    /// successor and the predecessor.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::NoKey`]; [`DatabaseError::NotRotatable`] unless the key is good now;
    /// [`DatabaseError::RotatedAlready`] if it has a successor; and what [`Writer::create_key`] says of the successor.
    pub fn rotate_key(&self, id: &str, rotation: Rotation) -> Result<(KeyRecord, KeyRecord), DatabaseError> {
        let before = self.stored(id)?;
        let standing = before.record.standing(self.moment);
        if standing != Standing::Good {
            return Err(DatabaseError::NotRotatable(standing.name()));
        }
        if let Some(successor) = before.record.successor {
            return Err(DatabaseError::RotatedAlready(successor));
        }
        let retires = self.end_of(rotation.overlap, before.record.expires)?;
        let predecessor = before.into_entry();
        let successor = Entry {
            id: rotation.id,
            digest: rotation.digest,
            prefix: rotation.prefix,
            created: Some(self.now),
            expires: rotation.expires.map(whole_us).or(predecessor.expires),
            ..predecessor
        };
        let new_id = successor.id.clone();
        self.insert(successor)?;
        let revision = signed(self.next_revision()?.0);
        self.run(
            "UPDATE keys SET successor = ?2, retires_us = ?3, expires_us = ?3, updated_us = ?4, revision = ?5 WHERE id = ?1",
            (id, &new_id, retires.as_microsecond(), self.now.as_microsecond(), revision),
        )?;
        self.note("rotate", "key", id, &json!({ "successor": new_id, "retires": retires }))?;
        let predecessor = if rotation.overlap.is_zero() { self.revoke_key(id)? } else { self.key(id)? };
        Ok((self.key(&new_id)?, predecessor))
    }

    fn end_of(&self, overlap: Duration, expires: Option<Timestamp>) -> Result<Timestamp, DatabaseError> {
        let end = SignedDuration::try_from(overlap)
            .ok()
            .filter(|_| overlap <= Rotation::OVERLAP_MAX)
            .and_then(|overlap| self.now.checked_add(overlap).ok());
        let fault = || Fault { field: "overlap".to_owned(), message: "must be at most 366 days".to_owned() };
        let end = whole_us(end.ok_or_else(|| DatabaseError::Invalid(vec![fault()]))?);
        Ok(expires.map_or(end, |expires| expires.min(end)))
    }
}
