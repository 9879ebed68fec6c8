//! Where a backup lies: in a file, or in a bucket. What is written there appears under its name only when it is whole.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;

use super::bucket::{Bucket, ObjectReader, ObjectUrl, Upload};
use crate::cli::errors::Failure;
use crate::cli::recover::failed;
use crate::raft::disk::real::{RealDisk, RealFile};
use crate::raft::disk::{Disk, ReadFile};
use crate::raft::offline;
use crate::raft::platform::Server;

#[derive(Clone, Debug)]
pub(in crate::cli) enum Place {
    File(PathBuf),
    Object(ObjectUrl),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("s3", rest)) => Ok(Self::Object(ObjectUrl::of(rest)?)),
            Some((scheme, _)) => Err(format!("{scheme}:// is not known: name a file, or s3://bucket/name")),
            None if text.is_empty() => Err("a file has a name".to_owned()),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Object(url) => url.fmt(f),
        }
    }
}

impl Place {
    /// By which backups are told from whatever else lies beside them.
    pub(super) fn has_ending(&self) -> bool {
        match self {
            Self::File(path) => path.extension().is_some(),
            Self::Object(url) => url.ending().is_some(),
        }
    }

    /// What errors call it.
    pub(super) fn name(&self) -> PathBuf {
        PathBuf::from(self.to_string())
    }

    pub(super) async fn open(&self) -> Result<Source, Failure> {
        match self {
            Self::File(path) => {
                let opened = RealDisk.open_to_read(path).await;
                let opened = opened.map_err(|source| Failure::Local { doing: "opening a backup".into(), source })?;
                Ok(Source::File(opened))
            }
            Self::Object(url) => Ok(Source::Object(Bucket::of(url)?.open(url).await?)),
        }
    }

    /// Refuses if something is there already.
    pub(super) async fn create(&self) -> Result<Target, Failure> {
        match self {
            Self::File(path) => Ok(Target::File(Unfinished::create(path)?)),
            Self::Object(url) => Ok(Target::Object(Bucket::of(url)?.create(url).await?)),
        }
    }

    /// Leaves the newest `keep` of those beside it whose names end like its own, itself among them.
    pub(super) async fn prune(&self, keep: usize) -> Result<(), Failure> {
        match self {
            Self::File(path) => {
                let pruned = prune(path, keep);
                pruned.map_err(|source| Failure::Local { doing: "deleting old backups".into(), source })
            }
            Self::Object(url) => Bucket::of(url)?.prune(url, keep).await,
        }
    }
}

/// A backup that is read.
pub(super) enum Source {
    File(RealFile),
    Object(ObjectReader),
}

impl ReadFile for Source {
    async fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => file.length().await,
            Self::Object(object) => object.length().await,
        }
    }

    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::File(file) => file.read_at(offset, length).await,
            Self::Object(object) => object.read_at(offset, length).await,
        }
    }
}

/// A backup that is written. Dropped before [`Target::finish`], nothing of it is to be seen under its name.
pub(super) enum Target {
    File(Unfinished),
    Object(Upload),
}

impl Target {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        match self {
            Self::File(file) => file.write(&bytes),
            Self::Object(upload) => upload.write(bytes).await,
        }
    }

    /// Read back from beginning to end.
    pub(super) async fn finish(self) -> Result<offline::Backup, Failure> {
        match self {
            Self::File(file) => file.finish().await,
            Self::Object(upload) => upload.finish().await,
        }
    }

    /// What was written so far goes. That something else has failed is the thing to tell.
    pub(super) async fn abandon(self) {
        match self {
            Self::File(file) => drop(file),
            Self::Object(upload) => upload.abandon().await,
        }
    }
}

/// A file under a name of its own, `.part`, which goes with it.
pub(super) struct Unfinished {
    file: File,
    path: PathBuf,
    wanted: PathBuf,
    is_named: bool,
}

impl Unfinished {
    fn create(wanted: &Path) -> Result<Self, Failure> {
        if wanted.exists() {
            return Err(Failure::Usage(format!("{} is there already", wanted.display())));
        }
        let mut path = wanted.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let file = File::create(&path).map_err(local(format!("writing {}", path.display())))?;
        Ok(Self { file, path, wanted: wanted.to_owned(), is_named: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(local(format!("writing {}", self.path.display())))
    }

    async fn finish(mut self) -> Result<offline::Backup, Failure> {
        self.file.sync_all().map_err(local(format!("writing {}", self.path.display())))?;
        let backup = offline::verify(&Server::new(), &self.path).await.map_err(failed("BACKUP_DAMAGED"))?;
        fs::rename(&self.path, &self.wanted).map_err(local(format!("naming {}", self.wanted.display())))?;
        self.is_named = true;
        let parent = folder(&self.wanted);
        let synced = File::open(parent).and_then(|dir| dir.sync_all());
        synced.map_err(local(format!("syncing {}", parent.display())))?;
        Ok(backup)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_named {
            // Whatever keeps it from going is not what went wrong first.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn local(doing: String) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Local { doing, source }
}

fn prune(file: &Path, keep: usize) -> io::Result<()> {
    let mut backups = Vec::new();
    for entry in fs::read_dir(folder(file))? {
        let path = entry?.path();
        if path.extension() == file.extension() && path.is_file() {
            backups.push((path.metadata()?.modified()?, path));
        }
    }
    // The one just written is the newest, and by its name if two are of one moment.
    backups.sort_by_key(|(modified, path)| (path == file, *modified, path.clone()));
    let surplus = backups.len().saturating_sub(keep);
    for (_, path) in &backups[..surplus] {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_backups_stay_and_so_does_everything_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        for (name, minute) in
            [("1.backup", 1), ("2.backup", 2), ("3.backup", 3), ("notes.txt", 0), ("4.backup.part", 0)]
        {
            let file = File::create(path(name)).expect("a small file can be written");
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(minute * 60);
            file.set_modified(time).expect("a time can be set");
        }
        prune(&path("3.backup"), 2).expect("files can be deleted");
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["2.backup", "3.backup", "4.backup.part", "notes.txt"]);
        prune(&path("2.backup"), 1).expect("files can be deleted");
        assert!(path("2.backup").exists() && !path("3.backup").exists(), "never the one that was just written");
    }

    #[test]
    fn a_place_is_a_file_or_in_a_bucket() {
        let place = |text: &str| text.parse::<Place>().map(|place| place.to_string());
        for fine in ["library.backup", "/a/b", "s3://bucket/x.backup", "s3://bucket/campus/x.backup"] {
            assert_eq!(place(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", "s3://", "s3://bucket", "s3://bucket/", "s3://bucket/campus/", "s3:///x", "gs://b/x"] {
            assert!(place(wrong).is_err(), "{wrong:?}");
        }
    }
}
