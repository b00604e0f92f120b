//! What can be seen of files without reading them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Inode, size and time of change of every file, also of those in directories. Symlinks are followed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Glance(Vec<(PathBuf, Option<Seen>)>);

/// What one file looks like.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

impl Glance {
    /// Looks at `paths`, in a fixed order.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut seen = Vec::new();
        for path in paths {
            seen.push((path.clone(), look_at(path)));
            let Ok(entries) = fs::read_dir(path) else { continue };
            let mut inside: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            inside.sort();
            seen.extend(inside.into_iter().map(|path| {
                let look = look_at(&path);
                (path, look)
            }));
        }
        Self(seen)
    }
}

fn look_at(path: &Path) -> Option<Seen> {
    let metadata = fs::metadata(path).ok()?;
    Some(Seen {
        inode: metadata.ino(),
        bytes: metadata.len(),
        changed_s: metadata.ctime(),
        changed_ns: metadata.ctime_nsec(),
    })
}
