//! Backups in a bucket: of a real S3 server over a folder, with signatures, multipart uploads and a link that is cut.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::processes::{Nodes, Ran, carrel_in};

const BUCKET: &str = "backups";
const KEY: &str = "carrel";
const SECRET: &str = "a secret of the bucket";

/// Buckets are folders of it.
struct S3 {
    dir: TempDir,
    address: SocketAddr,
}

impl S3 {
    async fn serve() -> Self {
        let dir = TempDir::new().expect("a directory for the test");
        fs::create_dir(dir.path().join(BUCKET)).expect("writable");
        let mut service = S3ServiceBuilder::new(FileSystem::new(dir.path()).expect("a folder"));
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { dir, address }
    }

    /// What lies in the bucket, for who asks its server.
    fn objects(&self) -> Vec<String> {
        let listed = fs::read_dir(self.dir.path().join(BUCKET)).expect("a folder");
        let names = listed.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    fn object(&self, name: &str) -> PathBuf {
        self.dir.path().join(BUCKET).join(name)
    }
}

/// The command, as somebody runs it who has these credentials.
async fn carrel(endpoint: SocketAddr, secret: &str, args: &[&str]) -> Ran {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let (endpoint, secret) = (format!("http://{endpoint}"), secret.to_owned());
    // The server that it calls runs on the threads of the test.
    let run = move || {
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", &secret),
            ("NO_PROXY", "127.0.0.1"),
        ];
        carrel_in(&environment, &args)
    };
    tokio::task::spawn_blocking(run).await.expect("it does not panic")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test is text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_to_a_bucket_and_comes_back() {
    let s3 = S3::serve().await;
    let mut nodes = Nodes::new(2);
    nodes.form(1).await;
    nodes.until_ready(&[0]).await;
    nodes.register(&[0], "amy").await;
    let admin = nodes.admin_url(0);
    let ask = async |args: &[&str]| carrel(s3.address, SECRET, args).await;

    let saved = ask(&["backup", "save", "s3://backups/1.backup", "--admin", &admin]).await.json();
    assert_eq!(saved["accounts"], 1, "{saved}");
    assert_eq!(s3.objects(), ["1.backup"]);
    assert_eq!(ask(&["backup", "verify", "s3://backups/1.backup"]).await.json(), saved);
    let again = ask(&["backup", "save", "s3://backups/1.backup", "--admin", &admin]).await.misused();
    assert!(again.contains("there already"), "{again}");

    // Newest two of its kind.
    for name in ["2", "3"] {
        let place = format!("s3://backups/{name}.backup");
        // Moments are told by the second there.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        fs::write(s3.object("notes.txt"), "not a backup").expect("writable");
        ask(&["backup", "save", &place, "--keep", "2", "--admin", &admin]).await.json();
    }
    assert_eq!(s3.objects(), ["2.backup", "3.backup", "notes.txt"]);
    let endless = ask(&["backup", "save", "s3://backups/4", "--keep", "2", "--admin", &admin]).await.misused();
    assert!(endless.contains("how their names end"), "{endless}");

    // Out of the bucket, and into another cluster without a stop on a disk.
    let file = nodes.dir().join("library.backup");
    let copied = ask(&["backup", "copy", "s3://backups/2.backup", text(&file)]).await.json();
    assert_eq!(fs::read(&file).expect("it was copied"), fs::read(s3.object("2.backup")).expect("it is there"));
    assert_eq!(copied["clusterId"], saved["clusterId"]);
    ask(&["backup", "copy", text(&file), "s3://backups/5.backup"]).await.json();
    let mount = nodes.mount(1);
    let restored =
        ask(&["restore", "--backup", "s3://backups/5.backup", "--dir", text(&mount), "--ordinal", "1"]).await.json();
    assert_ne!(restored["clusterId"], saved["clusterId"]);
    nodes.start(1);
    nodes.until_ready(&[1]).await;
    nodes.login(&[1], "amy").await;

    // One that was damaged there is found to be, read or copied.
    let mut bytes = fs::read(s3.object("5.backup")).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(s3.object("6.backup"), &bytes).expect("writable");
    let (reason, message) = ask(&["backup", "verify", "s3://backups/6.backup"]).await.refused();
    assert!(reason == "BACKUP_DAMAGED" && message.contains("s3://backups/6.backup is no whole backup"), "{message}");
    let into = nodes.dir().join("damaged.backup");
    assert_eq!(ask(&["backup", "copy", "s3://backups/6.backup", text(&into)]).await.refused().0, "BACKUP_DAMAGED");
    assert!(!into.exists(), "what is damaged does not look like a backup");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_bucket_and_wrong_credentials_are_told_apart() {
    let s3 = S3::serve().await;
    let admin = "http://127.0.0.1:1";
    let verify = async |place: &str| carrel(s3.address, SECRET, &["backup", "verify", place]).await;
    let (reason, message) = verify("s3://backups/none.backup").await.refused();
    assert!(reason == "OBJECT_NOT_FOUND" && message.contains("s3://backups/none.backup is not there"), "{message}");
    let (reason, message) = verify("s3://nowhere/x.backup").await.refused();
    assert!(reason == "OBJECT_NOT_FOUND" && message.contains("no bucket nowhere"), "{message}");
    let save = ["--timeout", "5", "backup", "save", "s3://backups/x.backup", "--admin", admin];
    let (reason, message) = carrel(s3.address, "guessed", &save[2..]).await.refused();
    assert!(reason == "CREDENTIALS_REFUSED" && message.contains("AWS_SECRET_ACCESS_KEY"), "{message}");
    let endpoint = format!("http://{}", s3.address);
    let keyless = tokio::task::spawn_blocking(move || {
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1"),
            ("NO_PROXY", "*"),
        ];
        carrel_in(&environment, ["backup", "verify", "s3://backups/x.backup"])
    });
    let (reason, message) = keyless.await.expect("it does not panic").refused();
    assert!(reason == "CREDENTIALS_MISSING" && message.contains("AWS_ACCESS_KEY_ID"), "{message}");
    for wrong in ["s3://backups", "s3://backups/", "gs://backups/x.backup"] {
        let told = verify(wrong).await.misused();
        assert!(told.contains("s3://bucket/name"), "{told}");
    }
    assert_eq!(s3.objects(), [""; 0]);
}

/// A link to the server that breaks for good after so many bytes towards it.
async fn link(to: SocketAddr, bytes: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let left = Arc::new(AtomicU64::new(bytes));
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let left = left.clone();
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(to).await else { return };
                let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.into_split(), far.into_split());
                let back = tokio::spawn(async move { tokio::io::copy(&mut from_far, &mut to_near).await });
                let mut piece = vec![0; 16 << 10];
                while let Ok(count @ 1..) = from_near.read(&mut piece).await {
                    let taken =
                        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(count as u64));
                    if taken.is_err() {
                        left.store(0, Ordering::SeqCst);
                        break;
                    }
                    if to_far.write_all(&piece[..count]).await.is_err() {
                        break;
                    }
                }
                back.abort();
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_cut_off_is_not_there() {
    let s3 = S3::serve().await;
    let dir = TempDir::new().expect("a directory for the test");
    let large = dir.path().join("large.backup");
    // Of three pieces; what is in them is looked at only once it is there.
    fs::write(&large, vec![7; 40 << 20]).expect("writable");
    let cut = link(s3.address, 20 << 20).await;
    let copied = carrel(cut, SECRET, &["backup", "copy", text(&large), "s3://backups/large.backup"]).await;
    let (reason, message) = copied.refused();
    assert_eq!(reason, "BUCKET_UNAVAILABLE", "{message}");
    assert_eq!(s3.objects(), [""; 0], "nobody takes a part of it for a backup");
    // The same on a whole line arrives, is no backup, and does not stay.
    let copied = carrel(s3.address, SECRET, &["backup", "copy", text(&large), "s3://backups/large.backup"]).await;
    assert_eq!(copied.refused().0, "BACKUP_DAMAGED");
    assert_eq!(s3.objects(), [""; 0]);
}
