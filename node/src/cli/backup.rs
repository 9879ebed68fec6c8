//! Backups: taking one from a running cluster, looking at one, and making a cluster of one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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

use super::admin::{Admin, LOOK};
use super::context::{client, print, tls};
use super::errors::Failure;
use super::recover::{census, failed, instant};
use super::table::facts;
use super::{Globals, Output};
use crate::raft::offline::{self, Restoring};
use crate::raft::platform::Server;

/// Larger than any piece that a node sends.
const PIECE_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum Backup {
    /// Take a backup of everything, from any node of a running cluster
    ///
    /// It has every change that was acknowledged before the command began. The file appears under its name only when it
    /// is whole and was read back.
    #[command(after_help = "Example:\n  carrel backup save library.backup --admin http://127.0.0.1:7420")]
    Save {
        /// Written here; must not exist yet
        file: PathBuf,
        /// Afterwards delete all but the newest so many files in its folder whose names end like its own
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        keep: Option<u32>,
        #[command(flatten)]
        admin: Admin,
    },
    /// Read a backup from beginning to end, without a cluster: every checksum, and what is in it
    Verify {
        /// What `carrel backup save` has written
        file: PathBuf,
    },
}

/// Make a new cluster of a backup, in an empty directory
///
/// The node in DIR becomes the only member of a cluster with a new id. Start it there with `carrel start --dir DIR`;
/// other nodes join it with empty directories. Nodes of the old cluster are strangers to it.
#[derive(Args, Debug)]
pub(super) struct Restore {
    /// What `carrel backup save` has written
    #[arg(long, value_name = "FILE")]
    backup: PathBuf,
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
        Backup::Save { file, keep, admin } => {
            if keep.is_some() && file.extension().is_none() {
                return Err(Failure::Usage("--keep tells backups by how their names end: library.backup".into()));
            }
            let client = admin.client(&client(globals, LOOK)?, tls(globals)?.as_ref()).await?;
            save(output, &file, client).await?;
            if let Some(keep) = keep {
                let pruned = prune(&file, keep as usize);
                pruned.map_err(|source| Failure::Local { doing: "deleting old backups".into(), source })?;
            }
            verify(output, &file).await
        }
        Backup::Verify { file } => verify(output, &file).await,
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
    let restored = offline::restore(&Server::new(), &backup, &dir, restoring).await;
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

async fn save(output: Output, file: &Path, node: Client) -> Result<(), Failure> {
    let local = |doing: String| move |source: io::Error| Failure::Local { doing, source };
    if file.exists() {
        return Err(Failure::Usage(format!("{} is there already", file.display())));
    }
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    let writing = || format!("writing {}", unfinished.display());
    let parts: Streaming<admin::CreateBackupResponse> = node
        .call(admin::CreateBackupRequest {}, |channel, request| async move {
            ClusterServiceClient::new(channel).max_decoding_message_size(PIECE_BYTES_MAX).create_backup(request).await
        })
        .await?;
    let mut target = File::create(&unfinished).map_err(local(writing()))?;
    let received = receive(output, parts, &mut target).await;
    let finished = match received {
        Ok(()) => target.sync_all().map_err(local(writing())),
        Err(failure) => Err(failure),
    };
    let finished = match finished {
        Ok(()) => offline::verify(&Server::new(), &unfinished).await.map(drop).map_err(failed("BACKUP_DAMAGED")),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = finished {
        // The failure is the thing to tell.
        let _ = fs::remove_file(&unfinished);
        return Err(failure);
    }
    fs::rename(&unfinished, file).map_err(local(format!("naming {}", file.display())))?;
    let parent = folder(file);
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(local(format!("syncing {}", parent.display())))
}

/// Leaves the newest of the files beside `file` whose names end like its own.
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

async fn receive(
    output: Output,
    mut parts: Streaming<admin::CreateBackupResponse>,
    target: &mut File,
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
                let written = target.write_all(&chunk.data);
                written.map_err(|source| Failure::Local { doing: "writing the backup".into(), source })?;
                sum.update(&chunk.data);
                offset += chunk.data.len() as u64;
                bar.set_position(offset);
            }
            Part::Trailer(Trailer { bytes, sha256 }) if bytes == offset && sha256[..] == sum.finalize()[..] => break,
            Part::Header(_) | Part::Chunk(_) | Part::Trailer(_) => return Err(broken("a piece of it is damaged")),
        }
    }
    bar.finish_and_clear();
    Ok(())
}

async fn verify(output: Output, file: &Path) -> Result<(), Failure> {
    let backup = offline::verify(&Server::new(), file).await.map_err(failed("BACKUP_DAMAGED"))?;
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
}
