//! Folders whose files change all at once.
//!
//! Kubernetes mounts ConfigMaps and Secrets so: `..data` is a link to a folder that holds all files, the files that are
//! named are links into it, and a change makes another folder and swaps the one link. Whoever reads two files by their
//! names can have one from before the swap and one from after it: a certificate with another's key, or a list of which an
//! entry has just moved to the other file.

use std::fs;
use std::path::{Path, PathBuf};

/// The link that is swapped.
const DATA: &str = "..data";

/// How often files are read that are swapped each time meanwhile.
const READINGS_MAX: usize = 5;

/// Reads files of `folders` by `read`, and once more if a folder was swapped meanwhile: what it returns was there at one
/// moment. `read` should have no other effect.
pub fn at_one_moment<T>(folders: &[&Path], mut read: impl FnMut() -> T) -> T {
    let mut before = moments(folders);
    for _ in 1..READINGS_MAX {
        let result = read();
        let after = moments(folders);
        if after == before {
            return result;
        }
        before = after;
    }
    read()
}

/// Where `..data` leads in each folder that has it.
fn moments(folders: &[&Path]) -> Vec<Option<PathBuf>> {
    folders.iter().map(|folder| fs::read_link(folder.join(DATA)).ok()).collect()
}

/// The folder that a file is in.
#[must_use]
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Makes the folder of this round and swaps the link, as the kubelet does; the last round's folder is gone then.
    fn swap(mount: &Path, round: u32) {
        let folder = mount.join(format!("..{round}"));
        fs::create_dir(&folder).unwrap();
        for name in ["one", "two"] {
            fs::write(folder.join(name), round.to_string()).unwrap();
        }
        symlink(format!("..{round}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join(DATA)).unwrap();
        if let Some(last) = round.checked_sub(1) {
            fs::remove_dir_all(mount.join(format!("..{last}"))).unwrap();
        }
    }

    #[test]
    fn files_that_are_swapped_while_they_are_read_are_of_one_moment() {
        let mount = tempfile::tempdir().unwrap();
        let mount = mount.path();
        swap(mount, 0);
        for swaps in [0, 1, 3] {
            let (mut readings, mut round) = (0, fs::read_link(mount.join(DATA)).unwrap());
            let read = || {
                readings += 1;
                let one = fs::read_to_string(mount.join(DATA).join("one"));
                if readings <= swaps {
                    let next: u32 = round.to_str().unwrap()[2..].parse::<u32>().unwrap() + 1;
                    swap(mount, next);
                    round = fs::read_link(mount.join(DATA)).unwrap();
                }
                (one.unwrap(), fs::read_to_string(mount.join(DATA).join("two")).unwrap())
            };
            let (one, two) = at_one_moment(&[mount], read);
            assert_eq!(one, two, "after {swaps} swaps");
            assert_eq!(readings, swaps + 1);
        }
    }

    #[test]
    fn folders_that_are_never_at_rest_are_read_nevertheless() {
        let mount = tempfile::tempdir().unwrap();
        let mut round = 0;
        swap(mount.path(), round);
        let read = || {
            round += 1;
            swap(mount.path(), round);
        };
        at_one_moment(&[mount.path(), Path::new("/nowhere")], read);
        assert_eq!(round as usize, READINGS_MAX);
    }

    #[test]
    fn a_file_without_a_folder_is_here() {
        for (file, folder) in [("keys.yaml", "."), ("a/keys.yaml", "a"), ("/keys.yaml", "/")] {
            assert_eq!(folder_of(Path::new(file)), Path::new(folder));
        }
    }
}
