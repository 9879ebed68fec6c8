//! The session between two commands: one small file that only its owner may read.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::errors::Failure;

/// Who is logged in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    /// `users/amy`
    pub(super) user: String,
    pub(super) token: String,
}

/// The directory that holds `session.json`.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
}

impl Store {
    /// In this directory, or else in the user's configuration directory.
    pub(super) fn new(dir: Option<PathBuf>) -> Result<Store, Failure> {
        let dir = dir.or_else(default_dir).ok_or_else(|| {
            Failure::Usage("there is no home directory; say where to keep the session with --config DIR".into())
        })?;
        Ok(Store { dir })
    }

    pub(super) fn load(&self) -> Result<Option<Session>, Failure> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(session) => Ok(Some(session)),
                Err(_) => Err(self.unreadable("is damaged")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Failure::Local { doing: format!("reading {}", path.display()), source }),
        }
    }

    /// Whole or not at all: a reader never sees half a session.
    pub(super) fn save(&self, session: &Session) -> Result<(), Failure> {
        let path = self.path();
        write_private(&self.dir, &path, session)
            .map_err(|source| Failure::Local { doing: format!("keeping the session in {}", path.display()), source })
    }

    pub(super) fn remove(&self) -> Result<(), Failure> {
        let path = self.path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::Local { doing: format!("removing {}", path.display()), source: error })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn unreadable(&self, why: &str) -> Failure {
        let source = io::Error::new(io::ErrorKind::InvalidData, format!("the file {why}; log in again"));
        Failure::Local { doing: format!("reading {}", self.path().display()), source }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("session.json")
    }
}

/// As the XDG base directory specification has it: a relative path counts as none.
fn default_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(config.join("carrel"))
}

fn write_private(dir: &Path, path: &Path, session: &Session) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // A name of its own per process: two that log in at once do not write into each other's file.
    let draft = dir.join(format!(".session.{}.json", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(session)?)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store(dir: &Path) -> Store {
        Store::new(Some(dir.join("deep/carrel"))).expect("the directory is given")
    }

    #[test]
    fn a_session_is_kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(dir.path());
        assert_eq!(store.load().expect("no file is no error"), None);
        let session = Session { user: "users/amy".into(), token: "secret".into() };
        store.save(&session).expect("it can be written");
        store.save(&session).expect("and replaced");
        assert_eq!(store.load().expect("it can be read"), Some(session));
        let mode = fs::metadata(store.path()).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&store.dir).expect("it is there").count(), 1, "no draft is left behind");
        store.remove().expect("it can be removed");
        store.remove().expect("twice");
        assert_eq!(store.load().expect("no file is no error"), None);
    }

    #[test]
    fn a_damaged_file_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(dir.path());
        fs::create_dir_all(&store.dir).expect("a directory");
        fs::write(store.path(), "{").expect("a file");
        let Err(Failure::Local { source, .. }) = store.load() else { panic!("the file is damaged") };
        assert!(source.to_string().contains("log in again"));
    }
}
