//! The certificates of a demo, made here so that the authority's key is at hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use carrel_node::certs::{Authority, Purpose, Signed};
use carrel_proto::client::{Client, Options, Tls};

pub const VALID: Duration = Duration::from_secs(24 * 60 * 60);

pub fn hosts() -> Vec<String> {
    vec!["127.0.0.1".into()]
}

pub fn authority(name: &str) -> Authority {
    Authority::new(name, VALID).expect("an authority")
}

pub fn signed(authority: &Authority, purpose: Purpose) -> Signed {
    authority.sign(purpose, &hosts(), VALID).expect("a certificate")
}

/// One that was valid yesterday.
pub fn expired(authority: &Authority, purpose: Purpose) -> Signed {
    let now = SystemTime::now();
    authority.sign_for(purpose, &hosts(), now - 2 * VALID, now - VALID).expect("a certificate")
}

/// The directory that the demo takes its certificates from.
pub struct Keyring {
    dir: PathBuf,
}

impl Keyring {
    pub fn at(demo: &Path) -> Self {
        Self { dir: demo.join("demo-keys") }
    }

    /// Everything from one authority.
    pub fn fill(&self, authority: &Authority) {
        for purpose in [Purpose::Peers, Purpose::Clients, Purpose::Admin] {
            self.put(purpose, &authority.certificate(), &signed(authority, purpose));
        }
    }

    /// As Kubernetes does it: a link to the directory of the day is swapped, and files are links through it.
    pub fn put(&self, purpose: Purpose, authorities: &str, pair: &Signed) {
        let dir = self.dir.join(match purpose {
            Purpose::Peers => "peers",
            Purpose::Clients => "clients",
            Purpose::Admin => "admin",
        });
        fs::create_dir_all(&dir).expect("a directory");
        let number = fs::read_dir(&dir).expect("readable").count();
        let today = format!("..{number}");
        fs::create_dir(dir.join(&today)).expect("a directory");
        for (file, text) in [("ca.crt", authorities), ("tls.crt", &pair.certificate), ("tls.key", &pair.key)] {
            fs::write(dir.join(&today).join(file), text).expect("written");
            if !dir.join(file).exists() {
                std::os::unix::fs::symlink(Path::new("..data").join(file), dir.join(file)).expect("linked");
            }
        }
        std::os::unix::fs::symlink(&today, dir.join("..data_tmp")).expect("linked");
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("swapped");
    }
}

pub fn caller(url: &str, trusted: &str, shown: Option<&Signed>) -> Client {
    let mut tls = Tls::trusting(trusted);
    if let Some(pair) = shown {
        tls = tls.showing(pair.certificate.clone(), pair.key.clone());
    }
    let options = Options { deadline: Duration::from_secs(2), ..Options::default() };
    Client::secured([url], options, &tls).expect("an address and certificates")
}
