//! A file system that is soon full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, with so much room.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None for who may not mount.
    pub fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("the test's directory can be written");
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output().ok()?;
        mounted.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also while a process still has it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
