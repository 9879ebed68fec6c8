//! Backups in S3, or in whatever speaks like it. The only user of the library for it.
//!
//! Whom to ask and as whom is in the environment, by the names that all programs for S3 use: AWS_ENDPOINT_URL,
//! AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and so on; on machines of AWS, what they give their programs.
//!
//! An object is written in pieces and is there once all of them are: whoever is cut off before leaves none.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, Error, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};
use tokio::sync::Mutex;
use tonic::Code;

use crate::cli::errors::Failure;
use crate::cli::recover::failed;
use crate::raft::disk::ReadFile;
use crate::raft::offline;
use crate::tls;

/// Of an object that is written: at most 10,000, so 160 GB.
const PIECE_BYTES: usize = 16 << 20;
/// On their way at once, which is what is held in memory of a backup.
const PIECES_MAX: usize = 2;
/// Of an object that is read from beginning to end, at a time.
const AHEAD_BYTES: u64 = 8 << 20;
/// Of what lies in one folder of a bucket, when old backups are looked for.
const LISTED_MAX: usize = 100_000;

/// A piece over a slow line.
const CALL_LIMIT: Duration = Duration::from_secs(300);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Of one call that fails for a reason that may pass; whoever runs this on a schedule tries again anyway.
const RETRIES: usize = 5;
const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// `s3://bucket/key`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct ObjectUrl {
    bucket: String,
    key: Path,
}

impl ObjectUrl {
    /// What follows the scheme.
    pub(super) fn of(rest: &str) -> Result<Self, String> {
        let wanted = || format!("s3://{rest} names no object: s3://bucket/name, as s3://backups/campus/library.backup");
        let (bucket, key) = rest.split_once('/').ok_or_else(wanted)?;
        if bucket.is_empty() || key.is_empty() || key.ends_with('/') {
            return Err(wanted());
        }
        let key = Path::parse(key).map_err(|error| format!("s3://{rest}: {error}"))?;
        Ok(Self { bucket: bucket.to_owned(), key })
    }

    pub(super) fn ending(&self) -> Option<&str> {
        self.key.extension()
    }
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    told: Told,
}

impl Bucket {
    pub(super) fn of(url: &ObjectUrl) -> Result<Self, Failure> {
        tls::choose_cryptography();
        let builder = AmazonS3Builder::from_env().with_bucket_name(&url.bucket);
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
            .iter()
            .find_map(|key| builder.get_config_value(key));
        // Whoever writes http:// means it.
        let is_plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut builder = builder
            .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), seconds(CALL_LIMIT))
            .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), seconds(CONNECT_LIMIT));
        if is_plain {
            builder = builder.with_allow_http(true);
        }
        let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY_LIMIT };
        let has_keys = builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_some();
        let told = Told { endpoint: endpoint.unwrap_or_else(|| "S3 of AWS".to_owned()), has_keys };
        let built = builder.with_retry(retry).build();
        let store = built.map_err(|error| told.failed(url, error))?;
        Ok(Self { store: Arc::new(store), told })
    }

    pub(super) async fn open(&self, url: &ObjectUrl) -> Result<ObjectReader, Failure> {
        let meta = self.store.head(&url.key).await.map_err(|error| self.told.failed(url, error))?;
        let ahead = Mutex::new(Ahead { offset: 0, bytes: Bytes::new() });
        Ok(ObjectReader { store: self.store.clone(), url: url.clone(), length: meta.size, ahead })
    }

    pub(super) async fn create(self, url: &ObjectUrl) -> Result<Upload, Failure> {
        match self.store.head(&url.key).await {
            Ok(_) => return Err(Failure::Usage(format!("{url} is there already"))),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(self.told.failed(url, error)),
        }
        let begun = self.store.put_multipart(&url.key).await.map_err(|error| self.told.failed(url, error))?;
        let pieces = WriteMultipart::new_with_chunk_size(begun, PIECE_BYTES);
        Ok(Upload { bucket: self, pieces, url: url.clone() })
    }

    pub(super) async fn prune(&self, url: &ObjectUrl, keep: usize) -> Result<(), Failure> {
        let folder: Path = url.key.parts().take(url.key.parts_count().saturating_sub(1)).collect();
        let failed = |error| self.told.failed(url, error);
        let mut backups = Vec::new();
        let mut listed = self.store.list(Some(&folder)).take(LISTED_MAX);
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            // Not what lies deeper: that is somebody else's.
            let is_beside = object.location.parts_count() == url.key.parts_count();
            if is_beside && object.location.extension() == url.ending() {
                backups.push((object.last_modified, object.location));
            }
        }
        // The one just written is the newest, and by its name if two are of one second.
        backups.sort_by_key(|(modified, key)| (*key == url.key, *modified, key.clone()));
        let surplus = backups.len().saturating_sub(keep);
        for (_, key) in &backups[..surplus] {
            self.store.delete(key).await.map_err(failed)?;
        }
        Ok(())
    }

    /// What lies there now. Whatever is no backup does not stay; one that cannot be read at this moment may be whole.
    async fn read_back(&self, url: &ObjectUrl) -> Result<offline::Backup, Failure> {
        let source = self.open(url).await?;
        let verified = offline::verify_bytes(&source, std::path::Path::new(&url.to_string())).await;
        if let Err(error) = &verified
            && !error.is_unreadable()
        {
            // That it is damaged is the thing to tell.
            let _ = self.store.delete(&url.key).await;
        }
        verified.map_err(failed("BACKUP_DAMAGED"))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

/// An object, read by ranges: somewhat more than is asked for, as the next thing that is asked for lies behind it.
pub(super) struct ObjectReader {
    store: Arc<AmazonS3>,
    url: ObjectUrl,
    length: u64,
    ahead: Mutex<Ahead>,
}

struct Ahead {
    offset: u64,
    bytes: Bytes,
}

impl Ahead {
    fn get(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let begin = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        self.bytes.get(begin..begin.checked_add(length)?).map(<[u8]>::to_vec)
    }
}

impl ReadFile for ObjectReader {
    async fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let ends_before = || io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} ends before", self.url));
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.length).ok_or_else(ends_before)?;
        let mut ahead = self.ahead.lock().await;
        if let Some(bytes) = ahead.get(offset, length) {
            return Ok(bytes);
        }
        let range = offset..end.max(offset + AHEAD_BYTES).min(self.length);
        let read = self.store.get_range(&self.url.key, range).await;
        let bytes = read.map_err(|error| io::Error::other(format!("reading {}: {}", self.url, brief(&error))))?;
        *ahead = Ahead { offset, bytes };
        ahead.get(offset, length).ok_or_else(ends_before)
    }
}

pub(super) struct Upload {
    bucket: Bucket,
    pieces: WriteMultipart,
    url: ObjectUrl,
}

impl Upload {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let room = self.pieces.wait_for_capacity(PIECES_MAX).await;
        room.map_err(|error| self.bucket.told.failed(&self.url, error))?;
        self.pieces.put(bytes);
        Ok(())
    }

    pub(super) async fn finish(self) -> Result<offline::Backup, Failure> {
        let Self { bucket, pieces, url } = self;
        pieces.finish().await.map_err(|error| bucket.told.failed(&url, error))?;
        bucket.read_back(&url).await
    }

    pub(super) async fn abandon(self) {
        // Otherwise the pieces lie there, under no name, until the bucket's own rules remove them.
        let _ = self.pieces.abort().await;
    }
}

/// Says what went wrong in the words of whoever has to mend it.
struct Told {
    endpoint: String,
    /// Otherwise the machine is asked for some, which only machines of AWS have.
    has_keys: bool,
}

/// Where a machine of AWS has what it gives its programs.
const METADATA: &str = "/latest/";

impl Told {
    fn failed(&self, url: &ObjectUrl, error: Error) -> Failure {
        let Self { endpoint, has_keys } = self;
        let ObjectUrl { bucket, .. } = url;
        let said = brief(&error);
        match error {
            Error::NotFound { .. } => {
                let message = format!("{url} is not there, or there is no bucket {bucket} at {endpoint}: {said}");
                Failure::refused(Code::NotFound, "OBJECT_NOT_FOUND", message)
            }
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                let message = format!(
                    "{endpoint} refuses these credentials for {url}: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have to \
                     be those of somebody who may list the bucket, and get, put and delete there: {said}"
                );
                Failure::refused(Code::PermissionDenied, "CREDENTIALS_REFUSED", message)
            }
            _ if !has_keys && said.contains(METADATA) => {
                let message = format!(
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and nothing here gives credentials for \
                     {url}: {said}"
                );
                Failure::refused(Code::Unauthenticated, "CREDENTIALS_MISSING", message)
            }
            _ => {
                let message = format!("{endpoint} does not do what was asked of {url}: {said}");
                Failure::refused(Code::Unavailable, "BUCKET_UNAVAILABLE", message)
            }
        }
    }
}

/// The error and its causes on one line, each once. The wrapping says nothing that they do not.
fn brief(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let mut text = error.to_string();
    while let Some(next) = cause.source() {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next;
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
