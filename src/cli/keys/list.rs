//! `keygate keys list`: the keys of files, or of the store.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

use super::super::store::{Store, StoreOf};
use super::super::table::write_table;
use super::change::records_as_json;
use super::shown::{COLUMNS, key_as_json, key_as_row, record_as_row};
use crate::keys::Sources;
use crate::keys::database::KeyFilter;
use crate::moment::Moment;

/// Which keys.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ListArguments {
    /// Key files
    #[arg(value_name = "FILE", required_unless_present_any = ["directories", "config"])]
    files: Vec<PathBuf>,
    /// Directory with key files; can be repeated
    #[arg(long = "directory", value_name = "DIRECTORY")]
    directories: Vec<PathBuf>,
    /// Lists the keys of the store that this configuration names
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["files", "directories"])]
    config: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Lists what `arguments` name.
pub(super) fn list(
    arguments: &ListArguments,
    out: &mut dyn Write,
    now: Moment,
    store_of: StoreOf<'_>,
) -> anyhow::Result<()> {
    let (values, rows) = match &arguments.config {
        Some(config) => {
            let store = Store::open(config, store_of)?;
            let records = store.read_all(|reader, page| reader.keys(&KeyFilter::default(), page))?;
            (records_as_json(&records, now), records.iter().map(|record| record_as_row(record, now)).collect())
        }
        None => {
            let set = Sources::new(arguments.files.clone(), arguments.directories.clone()).read()?;
            let values: Value = set.iter().map(|key| key_as_json(key, now)).collect();
            (values, set.iter().map(|key| key_as_row(key, now)).collect::<Vec<_>>())
        }
    };
    if arguments.json {
        writeln!(out, "{values:#}")?;
    } else {
        let rows: Vec<_> = std::iter::once(COLUMNS.map(str::to_owned)).chain(rows).collect();
        write_table(out, &rows)?;
    }
    Ok(())
}
