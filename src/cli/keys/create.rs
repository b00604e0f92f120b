//! `keygate keys create`: a new secret, and its key in the store, in a file, or to paste.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::Value;

use super::super::store::{Store, StoreOf, StoreSettings};
use super::shown::{Secrets, record_as_json};
use crate::gateway::permission::Permission;
use crate::keys::database::DatabaseError;
use crate::keys::{Entry, SecretFormat, append, json_of, yaml_of};
use crate::moment::Moment;
use crate::secret::Secret;

/// What the key is to be.
#[derive(Debug, Default, clap::Args)]
pub(super) struct CreateArguments {
    /// Public name of the key for machines, unique among all keys [default: random]
    #[arg(long)]
    id: Option<String>,
    /// Name of the key for people
    #[arg(long)]
    name: Option<String>,
    /// Environment the key is bound to
    #[arg(long)]
    environment: Option<String>,
    /// Tenant the key acts in
    #[arg(long)]
    tenant: Option<String>,
    /// User the key stands for; in the store the id or the login of one of its users, in a file any name
    #[arg(long)]
    user: Option<String>,
    /// What the key may do, such as `orders:read`; can be repeated
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// Named set of permissions, in the store one of the configuration; can be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// First instant at which the key is no longer good, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "RFC3339")]
    expires_at: Option<Timestamp>,
    /// Requests per window of the per-key limit, instead of the default
    #[arg(long, value_name = "REQUESTS")]
    rate_limit: Option<u64>,
    /// What the secret begins with, such as `pk_test_`; if left out, as the configuration says, or `kg_` and the
    /// environment
    #[arg(long, value_name = "PREFIX", conflicts_with = "hex")]
    secret_prefix: Option<String>,
    /// Makes the secret 64 hexadecimal digits
    #[arg(long)]
    hex: bool,
    /// Adds the entry to this key file, and makes the file if it does not exist
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    to: Option<PathBuf>,
    /// Adds the key to the store that this configuration names
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Makes a key. It is stored before its secret is shown.
pub(super) fn create(
    arguments: &CreateArguments,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<()> {
    let created = Timestamp::from_second(i64::try_from(now.unix_seconds())?)?;
    if let Some(expires) = arguments.expires_at {
        ensure!(expires > created, "`--expires-at` is in the past");
    }
    for (number, permission) in (1..).zip(&arguments.permissions) {
        // What was typed is not repeated: it may be anything.
        Permission::parse(permission).map_err(|error| anyhow::anyhow!("`--permission` (number {number}): {error}"))?;
    }
    match &arguments.config {
        Some(config) => create_in_store(arguments, store_of(config)?, out, now),
        None => create_for_file(arguments, created, out),
    }
}

fn create_in_store(
    arguments: &CreateArguments,
    settings: StoreSettings,
    out: &mut dyn Write,
    now: Moment,
) -> anyhow::Result<()> {
    let known = &settings.environments;
    if !known.is_empty() {
        let right = arguments.environment.as_ref().is_some_and(|environment| known.contains(environment));
        ensure!(right, "`--environment` must be one of {}", known.join(", "));
    }
    settings.check_roles(&arguments.roles)?;
    let format = format_of(arguments, &settings.format)?;
    let secret = format.generate(arguments.environment.as_deref())?;
    let entry = entry_of(arguments, &format, &secret)?;
    let store = Store::make(settings)?;
    let written = store.write(now, move |writer| {
        let mut entry = entry;
        if let Some(user) = &mut entry.user {
            *user = writer.user_by_id_or_login(user)?.id;
        }
        writer.create_key(entry)
    });
    let (record, in_force) = written.map_err(|error| match error.downcast_ref() {
        Some(DatabaseError::NoUser) => {
            anyhow::anyhow!("`--user`: no user of the store has this id or login; `keygate users list` shows all")
        }
        Some(_) | None => error,
    })?;
    let secrets = Secrets { id: &record.id, secret: &secret };
    if arguments.json {
        secrets.write_json(out, &[("key", record_as_json(&record, now))])?;
    } else {
        secrets.write_text(out)?;
        writeln!(out, "The key was added to {}.", store.settings.database.display())?;
    }
    out.flush().context("the secret could not be written")?;
    in_force.check()
}

fn create_for_file(arguments: &CreateArguments, created: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
    let format = format_of(arguments, &SecretFormat::default())?;
    let secret = format.generate(arguments.environment.as_deref())?;
    let entry = Entry { created: Some(created), ..entry_of(arguments, &format, &secret)? };
    // The file first: a secret that was shown and is not stored would be taken for a key.
    let yaml = yaml_of(&entry, 2)?;
    let file = arguments.to.as_deref().map(|path| append(path, &entry)).transpose()?;
    let secrets = Secrets { id: &entry.id, secret: &secret };
    if arguments.json {
        let mut more = vec![("entry", json_of(&entry)?)];
        more.extend(file.map(|file| ("file", Value::from(file.display().to_string()))));
        secrets.write_json(out, &more)?;
    } else {
        secrets.write_text(out)?;
        match file {
            Some(file) => writeln!(out, "The key was added to {}.", file.display())?,
            None => write!(out, "Its entry, to paste into a key file below `keys:`\n\n{yaml}")?,
        }
    }
    out.flush().context("the secret could not be written")
}

fn entry_of(arguments: &CreateArguments, format: &SecretFormat, secret: &Secret) -> anyhow::Result<Entry> {
    Ok(Entry {
        name: arguments.name.clone(),
        prefix: Some(secret.display_prefix()),
        tenant: arguments.tenant.clone(),
        user: arguments.user.clone(),
        environment: arguments.environment.clone(),
        permissions: arguments.permissions.clone(),
        roles: arguments.roles.clone(),
        expires: arguments.expires_at,
        rate_limit: arguments.rate_limit,
        ..Entry::new(&arguments.id.clone().map_or_else(|| format.random_id(), Ok)?, secret.digest())
    })
}

fn format_of(arguments: &CreateArguments, usual: &SecretFormat) -> anyhow::Result<SecretFormat> {
    if arguments.hex {
        return Ok(SecretFormat::hex64());
    }
    Ok(match &arguments.secret_prefix {
        Some(prefix) => SecretFormat::default()
            .with_prefix(arguments.environment.as_deref().unwrap_or_default(), prefix)
            .map_err(|error| anyhow::anyhow!("`--secret-prefix` {error}"))?,
        None => usual.clone(),
    })
}
