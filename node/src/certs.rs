//! `carrel certs`: an authority and certificates of it, to try TLS out with.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::tls::ADMIN_NAME;

/// Make an authority and certificates, to try TLS out with
///
/// Writes the authority, DIR/ca.crt and DIR/ca.key, and three directories with ca.crt, tls.crt and tls.key each: peers,
/// for start --tls-dir; clients, for start --client-tls-dir; admin, for whoever calls the admin port. Never writes over
/// a file. For trying out: the key of the authority lies beside what it signed, and all replicas share one key.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  carrel certs --dir keys --hosts 127.0.0.1,localhost
  carrel start --tls-dir keys/peers --client-tls-dir keys/clients ...
  carrel branches --endpoints https://127.0.0.1:7400 --ca keys/ca.crt
  carrel cluster status --endpoints https://127.0.0.1:7420 --ca keys/ca.crt \\
    --cert keys/admin/tls.crt --key keys/admin/tls.key")]
pub struct CertsArgs {
    /// Where they go
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// Names and addresses of the replicas, as they are in URLs; a name may begin with *.
    #[arg(long, value_name = "HOST,HOST", value_delimiter = ',', default_value = "127.0.0.1,localhost")]
    pub hosts: Vec<String>,

    /// How long they are valid
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub days: u16,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Of a replica, both ways.
    Peers,
    /// Of the client port.
    Clients,
    /// Of whoever runs the cluster.
    Admin,
}

/// An authority that can still sign. Its key is nowhere but here, unless it is written out.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Signed {
    pub certificate: String,
    pub key: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").finish_non_exhaustive()
    }
}

/// # Errors
/// If a file is there already or cannot be written, or a host is none.
pub fn run(args: &CertsArgs) -> anyhow::Result<()> {
    make(args)?;
    anstream::eprintln!("Certificates to try out with are in {}, valid for {} days.", args.dir.display(), args.days);
    Ok(())
}

/// # Errors
/// As `run`.
pub fn make(args: &CertsArgs) -> anyhow::Result<()> {
    let purposes = [Purpose::Peers, Purpose::Clients, Purpose::Admin];
    let files = purposes.map(|purpose| args.dir.join(purpose.name()));
    for path in files.iter().chain([&args.dir.join("ca.crt"), &args.dir.join("ca.key")]) {
        ensure!(!path.exists(), "{} is there already: nothing was written", path.display());
    }
    let valid = Duration::from_secs(u64::from(args.days) * 24 * 60 * 60);
    let authority = Authority::new("Carrel, for trying out", valid)?;
    for (purpose, dir) in purposes.iter().zip(&files) {
        let signed = authority.sign(*purpose, &args.hosts, valid)?;
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        write(&dir.join("ca.crt"), &authority.certificate(), PUBLIC)?;
        write(&dir.join("tls.crt"), &signed.certificate, PUBLIC)?;
        write(&dir.join("tls.key"), &signed.key, PRIVATE)?;
    }
    write(&args.dir.join("ca.crt"), &authority.certificate(), PUBLIC)?;
    write(&args.dir.join("ca.key"), &authority.key(), PRIVATE)
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Clients => "clients",
            Self::Admin => "admin",
        }
    }
}

impl Authority {
    /// # Errors
    /// If there is no randomness.
    pub fn new(name: &str, valid: Duration) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = SystemTime::now();
        (params.not_before, params.not_after) = ((now - BACKDATED).into(), (now + valid).into());
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("cannot make an authority")?;
        Ok(Self { issuer })
    }

    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// `hosts` are those of the replicas.
    ///
    /// # Errors
    /// If one of them is neither a name nor an address.
    pub fn sign(&self, purpose: Purpose, hosts: &[String], valid: Duration) -> anyhow::Result<Signed> {
        let now = SystemTime::now();
        self.sign_for(purpose, hosts, now - BACKDATED, now + valid)
    }

    /// # Errors
    /// As `sign`.
    pub fn sign_for(
        &self,
        purpose: Purpose,
        hosts: &[String],
        from: SystemTime,
        to: SystemTime,
    ) -> anyhow::Result<Signed> {
        let names = match purpose {
            Purpose::Peers | Purpose::Clients => hosts.to_vec(),
            Purpose::Admin => vec![ADMIN_NAME.to_owned()],
        };
        let mut params = CertificateParams::new(names).context("a host is neither a name nor an address")?;
        params.distinguished_name.push(DnType::CommonName, format!("carrel {}", purpose.name()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match purpose {
            Purpose::Peers => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Clients => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::Admin => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (from.into(), to.into());
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer).context("cannot sign a certificate")?;
        Ok(Signed { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// Clocks of machines differ a little.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let open = || -> std::io::Result<File> { OpenOptions::new().write(true).create_new(true).mode(mode).open(path) };
    let written = open().and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ever_written_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let args = CertsArgs { dir: dir.path().join("keys"), hosts: vec!["localhost".into()], days: 1 };
        make(&args).expect("made");
        let before = fs::read(args.dir.join("ca.key")).expect("written");
        let again = make(&args).expect_err("it is there");
        assert!(again.to_string().contains("is there already"), "{again}");
        assert_eq!(fs::read(args.dir.join("ca.key")).expect("still there"), before);
    }
}
