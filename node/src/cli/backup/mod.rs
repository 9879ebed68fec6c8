//! Backups: taking one from a running cluster, looking at one, and making a cluster of one.

mod bucket;
mod place;

use std::path::PathBuf;

use carrel_proto::admin::v1 as admin;
use carrel_proto::admin::v1::cluster_service_client::ClusterServiceClient;
use carrel_proto::admin::v1::create_backup_response::{Header, Part, Trailer};
use carrel_proto::client::Client;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sha2::{Digest, Sha256};
use tonic::{Code, Streaming};
use uuid::Uuid;

use self::place::{Place, Target};
use super::admin::{Admin, LOOK};
use super::context::{client, print, tls};
use super::errors::Failure;
use super::recover::{census, failed, instant};
use super::table::facts;
use super::{Globals, Output};
use crate::raft::disk::ReadFile;
use crate::raft::offline::{self, Restoring};
use crate::raft::platform::Server;

/// Larger than any piece that a node sends.
const PIECE_BYTES_MAX: usize = 4 << 20;
/// Of a backup that is copied, at a time.
const COPIED_BYTES: u64 = 4 << 20;

const BUCKETS: &str = "\
S3, and what speaks like it, is named as s3://bucket/name. Whom to ask and as whom is in the environment:
  AWS_ENDPOINT_URL                         of another S3 than that of AWS, https:// or http://
  AWS_REGION                               us-east-1, if it is not said
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, if there is one
  SSL_CERT_FILE                            authorities to trust instead of the system's";

#[derive(Debug, Subcommand)]
pub(super) enum Backup {
    /// Take a backup of everything, from any node of a running cluster
    ///
    /// It has every change that was acknowledged before the command began. It appears under its name only when it is
    /// whole, and is read back from where it lies.
    #[command(after_help = format!("{BUCKETS}\n\nExamples:\n  \
        carrel backup save library.backup --admin http://127.0.0.1:7420\n  \
        carrel backup save s3://backups/campus/$(date +%F).backup --keep 30"))]
    Save {
        /// Written here, a file or s3://bucket/name; must not exist yet
        #[arg(value_name = "PLACE")]
        place: Place,
        /// Afterwards delete all but the newest so many beside it whose names end like its own
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        keep: Option<u32>,
        #[command(flatten)]
        admin: Admin,
    },
    /// Read a backup from beginning to end, without a cluster: every checksum, and what is in it
    #[command(after_help = BUCKETS)]
    Verify {
        /// What `carrel backup save` has written, a file or s3://bucket/name
        #[arg(value_name = "PLACE")]
        place: Place,
    },
    /// Bring a backup to another place, out of a bucket or into one, and read it there from beginning to end
    #[command(after_help = BUCKETS)]
    Copy {
        /// What `carrel backup save` has written, a file or s3://bucket/name
        from: Place,
        /// Written here; must not exist yet
        to: Place,
    },
}

/// Make a new cluster of a backup, in an empty directory
///
/// The node in DIR becomes the only member of a cluster with a new id. Start it there with `carrel start --dir DIR`;
/// other nodes join it with empty directories. Nodes of the old cluster are strangers to it.
#[derive(Args, Debug)]
#[command(after_help = BUCKETS)]
pub(super) struct Restore {
    /// What `carrel backup save` has written, a file or s3://bucket/name
    #[arg(long, value_name = "PLACE")]
    backup: Place,
    /// The new node's directory, as for `carrel start`
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The slot the node will run in
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..100))]
    ordinal: u32,
    /// Voters the cluster shall have before it serves clients
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=7))]
    voters: u32,
    /// Id of the new cluster [default: drawn]
    #[arg(long, value_name = "UUID")]
    cluster_id: Option<Uuid>,
}

pub(super) async fn run(globals: &Globals, command: Backup) -> Result<(), Failure> {
    let output = globals.output;
    match command {
        Backup::Save { place, keep, admin } => {
            if keep.is_some() && !place.has_ending() {
                return Err(Failure::Usage("--keep tells backups by how their names end: library.backup".into()));
            }
            let client = admin.client(&client(globals, LOOK)?, tls(globals)?.as_ref()).await?;
            let backup = save(output, &place, client).await?;
            if let Some(keep) = keep {
                place.prune(keep as usize).await?;
            }
            tell(output, &backup)
        }
        Backup::Verify { place } => tell(output, &verified(&place).await?),
        Backup::Copy { from, to } => tell(output, &copy(&from, &to).await?),
    }
}

pub(super) async fn restore(output: Output, restore: Restore) -> Result<(), Failure> {
    let Restore { backup, dir, ordinal, voters, cluster_id } = restore;
    let restoring = Restoring {
        cluster_id: cluster_id.unwrap_or_else(Uuid::new_v4),
        incarnation: Uuid::new_v4(),
        ordinal,
        wanted_voters: voters,
    };
    let source = backup.open().await?;
    let restored = offline::restore_bytes(&Server::new(), &source, &backup.name(), &dir, restoring).await;
    let (backup, begun) = restored.map_err(failed("BACKUP_NOT_RESTORED"))?;
    if output == Output::Json {
        return print(
            &json!({
                "clusterId": begun.me.cluster_id.to_string(), "lineage": begun.me.lineage, "nodeId": begun.me.node_id,
                "ordinal": begun.ordinal, "index": begun.position.index, "restoredThrough": backup.last.index,
            })
            .to_string(),
        );
    }
    let rows = vec![
        ("Cluster", begun.me.cluster_id.to_string()),
        ("Lineage", begun.me.lineage.to_string()),
        ("Node", format!("{} in slot {}", begun.me.node_id, begun.ordinal)),
        ("Restored", format!("everything through entry {}", backup.last.index)),
    ];
    let next = format!("Start it with: carrel start --dir {} --ordinal {ordinal} ...", dir.display());
    print(&format!("{}\n{next}", facts(rows)))
}

/// What was sent is what the node had, by its sums, before it gets its name.
async fn save(output: Output, place: &Place, node: Client) -> Result<offline::Backup, Failure> {
    let mut target = place.create().await?;
    match fill(output, &mut target, node).await {
        Ok(()) => target.finish().await,
        Err(failure) => {
            target.abandon().await;
            Err(failure)
        }
    }
}

async fn fill(output: Output, target: &mut Target, node: Client) -> Result<(), Failure> {
    let parts: Streaming<admin::CreateBackupResponse> = node
        .call(admin::CreateBackupRequest {}, |channel, request| async move {
            ClusterServiceClient::new(channel).max_decoding_message_size(PIECE_BYTES_MAX).create_backup(request).await
        })
        .await?;
    receive(output, parts, target).await
}

async fn copy(from: &Place, to: &Place) -> Result<offline::Backup, Failure> {
    let source = from.open().await?;
    let reading = |source| Failure::Local { doing: format!("reading {from}"), source };
    let length = source.length().await.map_err(reading)?;
    let mut target = to.create().await?;
    let mut offset = 0;
    while offset < length {
        let piece = (length - offset).min(COPIED_BYTES);
        let copied = match source.read_at(offset, usize::try_from(piece).expect("a piece fits into memory")).await {
            Ok(bytes) => target.write(bytes.into()).await,
            Err(error) => Err(reading(error)),
        };
        if let Err(failure) = copied {
            target.abandon().await;
            return Err(failure);
        }
        offset += piece;
    }
    target.finish().await
}

async fn verified(place: &Place) -> Result<offline::Backup, Failure> {
    let source = place.open().await?;
    offline::verify_bytes(&source, &place.name()).await.map_err(failed("BACKUP_DAMAGED"))
}

async fn receive(
    output: Output,
    mut parts: Streaming<admin::CreateBackupResponse>,
    target: &mut Target,
) -> Result<(), Failure> {
    let broken = |what: &str| Failure::refused(Code::DataLoss, "BACKUP_CUT_OFF", what.to_owned());
    let mut next = async || {
        let part =
            parts.message().await.map_err(|status| broken(&format!("the node ended it: {}", status.message())))?;
        part.and_then(|part| part.part).ok_or_else(|| broken("it ended before its end"))
    };
    let Part::Header(Header { bytes, .. }) = next().await? else { return Err(broken("it begins without a header")) };
    // Draws on standard error, and only if that is a terminal.
    let bar = if output == Output::Json { ProgressBar::hidden() } else { ProgressBar::new(bytes) };
    let style = "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec}";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
    let (mut sum, mut offset) = (Sha256::new(), 0);
    loop {
        match next().await? {
            Part::Chunk(chunk) if chunk.offset == offset && crc32c::crc32c(&chunk.data) == chunk.crc32c => {
                sum.update(&chunk.data);
                offset += chunk.data.len() as u64;
                target.write(chunk.data.into()).await?;
                bar.set_position(offset);
            }
            Part::Trailer(Trailer { bytes, sha256 }) if bytes == offset && sha256[..] == sum.finalize()[..] => break,
            Part::Header(_) | Part::Chunk(_) | Part::Trailer(_) => return Err(broken("a piece of it is damaged")),
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn tell(output: Output, backup: &offline::Backup) -> Result<(), Failure> {
    let contents = &backup.contents;
    if output == Output::Json {
        return print(
            &json!({
                "clusterId": backup.cluster_id.to_string(), "lineage": backup.lineage, "index": backup.last.index,
                "term": backup.last.term, "time": instant(contents.at), "bytes": backup.bytes,
                "stateHash": contents.digest.to_string(), "accounts": contents.census.accounts,
                "branches": contents.census.branches, "seats": contents.census.seats,
                "claims": contents.census.claims, "liveClaims": contents.census.live_claims,
                "waits": contents.census.waits, "items": contents.census.items,
            })
            .to_string(),
        );
    }
    let rows = vec![
        ("Cluster", backup.cluster_id.to_string()),
        ("Lineage", backup.lineage.to_string()),
        ("Through", format!("entry {}, term {}", backup.last.index, backup.last.term)),
        ("Time", instant(contents.at)),
        ("Holds", census(&contents.census)),
        ("State", contents.digest.to_string()),
        ("Size", format!("{} bytes, whole", backup.bytes)),
    ];
    print(&facts(rows))
}
