//! File systems of their own, whose power can go.

use crate::tools::{need, need_root};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Sparse: what is not written takes no room.
const BYTES: u64 = 512 * 1_024 * 1_024;
/// `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`: from here on nothing gets to the disk, not even the journal.
const SHUT_DOWN: &str = "\
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// An ext4 in a file, mounted. Taken down when this is dropped.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    place: PathBuf,
}

impl Volume {
    /// Makes one, with its image beside `place`, and mounts it there.
    ///
    /// # Panics
    /// If it cannot be made: that needs root.
    #[must_use]
    pub fn new(place: &Path) -> Self {
        need_root("to mount a file system");
        need("mkfs.ext4", "e2fsprogs");
        need("mount", "mount");
        need("python3", "python3");
        let image = place.with_extension("image");
        File::create(&image).and_then(|file| file.set_len(BYTES)).expect("an image can be made");
        fs::create_dir_all(place).expect("a directory can be made");
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        let volume = Self { image, place: place.to_owned() };
        volume.mount();
        volume
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.place));
    }

    /// The power goes: whatever was not synced is lost, and everything that is asked of it fails.
    ///
    /// # Panics
    /// If it cannot be shut down.
    pub fn shut_down(&self) {
        run(Command::new("python3").args(["-c", SHUT_DOWN]).arg(&self.place));
    }

    /// The power is back. Whoever used it must have ended.
    ///
    /// # Panics
    /// If it cannot be mounted again.
    pub fn restore(&self) {
        run(Command::new("umount").arg(&self.place));
        self.mount();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Also while somebody still uses it.
        let _ended = Command::new("umount").arg("--lazy").arg(&self.place).output();
        let _removed = fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
