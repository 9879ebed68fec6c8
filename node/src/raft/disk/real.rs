//! The disk as it is: files of this machine. Every function blocks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::raft::disk::{Disk, DiskFile, ReadFile};

#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
pub struct RealFile {
    file: File,
    path: PathBuf,
}

/// An advisory lock on the directory itself, so that no lock file lies about. It ends with the process, however that
/// ends.
#[derive(Debug)]
pub struct RealLock {
    _directory: File,
}

impl Disk for RealDisk {
    type File = RealFile;
    type Lock = RealLock;

    async fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> =
            dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        fs::create_dir_all(dir).map_err(|error| told(error, "cannot create directory", dir))?;
        for created in missing {
            let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sync_directory(parent)?;
        }
        Ok(())
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(dir).map_err(|error| told(error, "cannot list", dir))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| told(error, "cannot list", dir))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    async fn open(&self, path: &Path) -> io::Result<RealFile> {
        let file =
            OpenOptions::new().read(true).write(true).open(path).map_err(|error| told(error, "cannot open", path))?;
        Ok(RealFile { file, path: path.to_owned() })
    }

    async fn open_to_read(&self, path: &Path) -> io::Result<RealFile> {
        let file = File::open(path).map_err(|error| told(error, "cannot open", path))?;
        Ok(RealFile { file, path: path.to_owned() })
    }

    async fn create(&self, path: &Path, zeroed_bytes: u64) -> io::Result<RealFile> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(|error| told(error, "cannot create", path))?;
        let zero = || -> io::Result<()> {
            // Written, not reserved: blocks that were only reserved would cost every sync a change of the file's map.
            let zeroes = vec![0; 1 << 20];
            let mut written = 0;
            while written < zeroed_bytes {
                let step = zeroes.len().min(usize::try_from(zeroed_bytes - written).unwrap_or(usize::MAX));
                file.write_all_at(&zeroes[..step], written)?;
                // At once, for all of it together would stand before the syncs of whoever else uses the disk.
                file.sync_data()?;
                written += step as u64;
            }
            file.sync_all()
        };
        zero().map_err(|error| told(error, &format!("cannot reserve {zeroed_bytes} bytes for"), path))?;
        Ok(RealFile { file, path: path.to_owned() })
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|error| told(error, &format!("cannot rename {} to", from.display()), to))
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|error| told(error, "cannot remove", path))
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_directory(dir)
    }

    async fn lock(&self, dir: &Path) -> io::Result<RealLock> {
        let directory = File::open(dir).map_err(|error| told(error, "cannot open", dir))?;
        match directory.try_lock() {
            Ok(()) => Ok(RealLock { _directory: directory }),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{} is in use by another process", dir.display()),
            )),
            Err(TryLockError::Error(error)) => Err(told(error, "cannot lock", dir)),
        }
    }
}

impl ReadFile for RealFile {
    async fn length(&self) -> io::Result<u64> {
        let metadata = self.file.metadata().map_err(|error| told(error, "cannot measure", &self.path))?;
        Ok(metadata.len())
    }

    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| told(error, "cannot read", &self.path))?;
        Ok(bytes)
    }
}

impl DiskFile for RealFile {
    async fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|error| told(error, "cannot write", &self.path))
    }

    async fn shorten(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length).map_err(|error| told(error, "cannot shorten", &self.path))
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|error| told(error, "cannot sync", &self.path))
    }
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| told(error, "cannot sync directory", dir))
}

/// The error with what was being done to which file, and with its kind.
fn told(error: io::Error, doing: &str, path: &Path) -> io::Error {
    let full = if error.kind() == io::ErrorKind::StorageFull { "the disk is full: " } else { "" };
    io::Error::new(error.kind(), format!("{full}{doing} {}: {error}", path.display()))
}
