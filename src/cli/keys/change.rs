//! `keygate keys revoke`, `deactivate`, `activate`, `rotate`, `delete`: what becomes of a key in the store.

use std::io::Write;
use std::time::Duration;

use anyhow::ensure;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::Configured;
use super::super::store::{Store, StoreOf};
use super::shown::{Secrets, record_as_json};
use crate::document::duration;
use crate::keys::database::{DatabaseError, KeyRecord, Rotation, Writer};
use crate::moment::Moment;

/// Which key, in which store.
#[derive(Debug, clap::Args)]
pub(super) struct OneArguments {
    /// Id of the key
    id: String,
    #[command(flatten)]
    configured: Configured,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Which key is to be rotated, and how.
#[derive(Debug, clap::Args)]
pub(super) struct RotateArguments {
    #[command(flatten)]
    one: OneArguments,
    /// How long both keys are good, such as 24h; 0s ends the old one at once
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    overlap: Duration,
    /// First instant at which the new key is no longer good [default: as the old one]
    #[arg(long, value_name = "RFC3339")]
    expires_at: Option<Timestamp>,
}

/// One operation on one key.
pub(super) type Operation = fn(&Writer<'_>, &str) -> Result<KeyRecord, DatabaseError>;

/// Does `operation`, and says in `word` what became of the key.
pub(super) fn switch(
    arguments: &OneArguments,
    (word, operation): (&str, Operation),
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<()> {
    let store = Store::open(&arguments.configured.config, store_of)?;
    let id = arguments.id.clone();
    let (record, in_force) = store.write(now, move |writer| operation(writer, &id))?;
    if arguments.json {
        writeln!(out, "{}", record_as_json(&record, now))?;
    } else {
        writeln!(out, "The key {} is {word}.", record.id)?;
    }
    out.flush()?;
    in_force.check()
}

/// Deletes a key.
pub(super) fn delete(
    arguments: &OneArguments,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<()> {
    let store = Store::open(&arguments.configured.config, store_of)?;
    let id = arguments.id.clone();
    let ((), in_force) = store.write(now, move |writer| writer.delete_key(&id))?;
    if arguments.json {
        writeln!(out, "{}", json!({ "id": arguments.id, "deleted": true }))?;
    } else {
        writeln!(out, "The key {} is deleted.", arguments.id)?;
    }
    out.flush()?;
    in_force.check()
}

/// Makes a successor of a key.
pub(super) fn rotate(
    arguments: &RotateArguments,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<()> {
    let OneArguments { id, configured, json } = &arguments.one;
    if let Some(expires) = arguments.expires_at {
        ensure!(expires.as_nanosecond() > i128::from(now.unix_ns), "`--expires-at` is in the past");
    }
    let store = Store::open(&configured.config, store_of)?;
    let key = id.clone();
    let environment = store.read(move |reader| reader.key(&key))?.environment;
    let secret = store.settings.format.generate(environment.as_deref())?;
    let rotation = Rotation {
        id: store.settings.format.random_id()?,
        digest: secret.digest(),
        prefix: Some(secret.display_prefix()),
        overlap: arguments.overlap,
        expires: arguments.expires_at,
    };
    let key = id.clone();
    let ((successor, predecessor), in_force) = store.write(now, move |writer| writer.rotate_key(&key, rotation))?;
    let secrets = Secrets { id: &successor.id, secret: &secret };
    if *json {
        secrets.write_json(
            out,
            &[("key", record_as_json(&successor, now)), ("predecessor", record_as_json(&predecessor, now))],
        )?;
    } else {
        secrets.write_text(out)?;
        let good = match predecessor.retires {
            Some(retires) if retires.as_nanosecond() <= i128::from(now.unix_ns) => "no longer good".to_owned(),
            Some(retires) => format!("good until {retires}"),
            None => "good".to_owned(),
        };
        writeln!(out, "It succeeds the key {}, which is {good}.", predecessor.id)?;
    }
    out.flush()?;
    in_force.check()
}

/// The members of a list of records.
pub(super) fn records_as_json(records: &[KeyRecord], now: Moment) -> Value {
    records.iter().map(|record| record_as_json(record, now)).collect()
}
