//! Certificates change under load: trust both, show the new ones, drop the old. No call fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carrel_node::certs::{Authority, Purpose, Signed};
use carrel_proto::admin::v1::{Certificate, GetStatusRequest};
use carrel_proto::client::{Client, ClientError, Options, Tls, new_request_id};
use carrel_proto::v1::{ListBranchesRequest, RegisterRequest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::keyring::{Keyring, authority, caller, signed};
use crate::stage::Demo;

const REPLICAS: u16 = 3;

async fn metric(port: u16, name: &str) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("metrics are served");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answered");
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}

/// Until every replica has noticed so many changes with this outcome.
async fn noticed(demo: &Demo, outcome: &str, count: u64) {
    let name = format!("carrel_tls_reloads_total{{outcome=\"{outcome}\"}}");
    let started = Instant::now();
    for ordinal in 0..REPLICAS {
        while metric(demo.port + 30 + ordinal, &name).await < count {
            assert!(started.elapsed() < Duration::from_secs(30), "replica {ordinal}: {outcome} {count}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Reads and writes through every replica until told to stop; the first failure ends it.
async fn load(client: Client, number: u64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Result<(), ClientError> {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        client.list_branches(ListBranchesRequest::default()).await?;
        if round % 20 == 0 {
            let user_id = format!("p{number}-{round}");
            let password = crate::stage::PASSWORD.to_owned();
            client.register(RegisterRequest { request_id: new_request_id(), user_id, password }).await?;
        }
        done.fetch_add(1, Ordering::Relaxed);
        round += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn put_both(keyring: &Keyring, trusted: &str, by: &Authority) {
    keyring.put(Purpose::Peers, trusted, &signed(by, Purpose::Peers));
    keyring.put(Purpose::Clients, trusted, &signed(by, Purpose::Clients));
}

fn fingerprints(certificates: &[Certificate]) -> Vec<Vec<u8>> {
    certificates.iter().map(|certificate| certificate.sha256.clone()).collect()
}

/// As whoever made them knows them.
fn fingerprints_of(authorities: &[&Authority]) -> Vec<Vec<u8>> {
    let der = |authority: &&Authority| {
        CertificateDer::from_pem_slice(authority.certificate().as_bytes()).expect("it was made here")
    };
    authorities.iter().map(|authority| Sha256::digest(der(authority)).to_vec()).collect()
}

async fn is_let_in(url: &str, trusted: &str, pair: &Signed) -> bool {
    caller(url, trusted, Some(pair)).get_status(GetStatusRequest { local: true }).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_and_no_call_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    let (old, new) = (authority("old"), authority("new"));
    let keyring = Keyring::at(dir.path());
    keyring.fill(&old);
    let demo = Demo::start(dir.path(), &["--tls"]);
    let both = format!("{}{}", old.certificate(), new.certificate());
    let admin_url = format!("https://127.0.0.1:{}", demo.port + 20);
    let (old_admin, new_admin) = (signed(&old, Purpose::Admin), signed(&new, Purpose::Admin));

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for number in 0..6 {
        // Each prefers another replica, so that requests are forwarded between all of them.
        let mut endpoints = demo.endpoints();
        endpoints.rotate_left(usize::try_from(number % 3).expect("small"));
        let options = Options { deadline: Duration::from_secs(20), ..Options::default() };
        let client = Client::secured(endpoints, options, &Tls::trusting(both.clone())).expect("addresses");
        callers.spawn(load(client, number, stop.clone(), done.clone()));
    }
    let kept = caller(&admin_url, &both, Some(&old_admin));
    let keys = kept.get_status(GetStatusRequest { local: true }).await.expect("let in").cluster_keys.expect("in use");
    assert_eq!(fingerprints(&keys.authorities), fingerprints_of(&[&old]));
    let shown_first = keys.shown.expect("it shows one").sha256;
    assert!(!is_let_in(&admin_url, &both, &new_admin).await, "nobody trusts the new authority yet");

    // A key that is not the certificate's: refused, and everything goes on with the old ones.
    let torn = Signed { key: signed(&old, Purpose::Peers).key, ..signed(&old, Purpose::Peers) };
    keyring.put(Purpose::Peers, &both, &torn);
    noticed(&demo, "refused", 1).await;
    // So is a certificate that the others would refuse.
    keyring.put(Purpose::Peers, &old.certificate(), &signed(&new, Purpose::Peers));
    noticed(&demo, "refused", 2).await;
    assert!(is_let_in(&admin_url, &both, &old_admin).await);

    let before = done.load(Ordering::Relaxed);
    put_both(&keyring, &both, &old);
    noticed(&demo, "taken", 2).await;
    assert!(is_let_in(&admin_url, &both, &new_admin).await);
    put_both(&keyring, &both, &new);
    noticed(&demo, "taken", 4).await;
    kept.get_status(GetStatusRequest { local: true }).await.expect("both are trusted");
    let keys = kept.get_status(GetStatusRequest { local: true }).await.expect("let in").cluster_keys.expect("in use");
    assert_eq!(fingerprints(&keys.authorities), fingerprints_of(&[&old, &new]));
    assert_ne!(keys.shown.expect("it shows one").sha256, shown_first, "and another certificate is shown");
    put_both(&keyring, &new.certificate(), &new);
    noticed(&demo, "taken", 6).await;
    // Who came in with a certificate of the old one is put out, and does not come in again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    kept.get_status(GetStatusRequest { local: true }).await.expect_err("nobody trusts the old authority any more");
    assert!(!is_let_in(&admin_url, &both, &old_admin).await);
    assert!(is_let_in(&admin_url, &new.certificate(), &new_admin).await);

    // The replicas still reach each other.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("no panic").expect("no call fails");
    }
    let made = done.load(Ordering::Relaxed) - before;
    eprintln!("{made} rounds of calls while certificates changed, none failed");
    assert!(made > 100, "{made}");
    assert_eq!(logged(dir.path(), "new certificates are refused"), 2 * usize::from(REPLICAS));
    demo.stop();
}

/// How many lines of the replicas' logs say so.
fn logged(dir: &Path, what: &str) -> usize {
    let logs = (0..REPLICAS).map(|ordinal| dir.join(format!("replica-{ordinal}.log")));
    let texts = logs.map(|log| std::fs::read_to_string(log).expect("a replica has a log"));
    texts.map(|text| text.lines().filter(|line| line.contains(what)).count()).sum()
}
