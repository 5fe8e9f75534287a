//! That a master's state was found to differ from the majority's: a small file in its directory, so that no start forgets it.
//! It holds what the master said of itself then, for whoever looks into the directory; that it is there is what counts.

use super::{
    disk::{Disk, read_all, remove_if_there},
    error::{DiskError, OpenError},
};
use quorate_core::bug::{self, Bug};

/// The file's name. An operator who knows better removes it.
pub const FILE: &str = "differs";
const FILE_ASIDE: &str = "differs.tmp";

/// From now on no start uses the directory. `said`: what is wrong, and where.
///
/// # Errors
/// The disk's; then it may be there or not.
pub fn note(disk: &dyn Disk, said: &str) -> Result<(), DiskError> {
    remove_if_there(disk, FILE_ASIDE)?;
    disk.create(FILE_ASIDE)?;
    disk.append(FILE_ASIDE, format!("{said}\n").as_bytes())?;
    disk.sync(FILE_ASIDE)?;
    disk.rename(FILE_ASIDE, FILE)?;
    disk.sync_dir()
}

/// What was said of the directory's state, if it was found to differ.
///
/// # Errors
/// The disk's.
pub fn said(disk: &dyn Disk) -> Result<Option<String>, DiskError> {
    match read_all(disk, FILE) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses a directory whose state was found to differ.
///
/// # Errors
/// `Differs` with what was said then; or the disk's.
pub fn check(disk: &dyn Disk) -> Result<(), OpenError> {
    match said(disk)? {
        Some(said) if !bug::planted(Bug::NetDiffersForgotten) => {
            Err(OpenError::Differs { directory: disk.location(), said })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryDisk;
    use quorate_core::random::Draws;

    #[test]
    fn a_directory_that_differs_is_refused_until_somebody_removes_the_file() {
        let disk = MemoryDisk::new();
        check(&disk).expect("nothing was noted");
        note(&disk, "the state at index 256").expect("the disk is well");
        note(&disk, "the state at index 512").expect("the last word counts");
        let Err(OpenError::Differs { said, .. }) = check(&disk) else { panic!("it is used") };
        assert_eq!(said, "the state at index 512");
        disk.remove(FILE).expect("it is there");
        check(&disk).expect("an operator knows better");
    }

    #[test]
    #[cfg(feature = "planted-bugs")]
    fn a_directory_that_differs_and_is_used_is_noticed() {
        crate::storage::tests::planted::fails(
            Bug::NetDiffersForgotten,
            a_directory_that_differs_is_refused_until_somebody_removes_the_file,
        );
    }

    #[test]
    fn what_was_noted_is_there_after_a_loss_of_power_and_a_note_that_was_cut_off_is_none() {
        let disk = MemoryDisk::new();
        disk.create(FILE_ASIDE).expect("the disk is well");
        disk.append(FILE_ASIDE, b"the st").expect("the disk is well");
        check(&disk).expect("it was never said");
        for seed in 0..20 {
            let disk = disk.clone();
            note(&disk, "the state at index 256").expect("the disk is well");
            disk.power_loss(&mut Draws::new(seed, 0));
            assert!(matches!(check(&disk), Err(OpenError::Differs { .. })), "{seed}");
        }
    }
}
