//! The identity of a volume: drawn once, joined once, never changed, used by one process.

use std::path::{Path, PathBuf};

use carrel_node::raft::disk::real::RealDisk;
use carrel_node::raft::disk::simulated::SimulatedDisk;
use carrel_node::raft::identity::{DataDirectory, IdentityError, MemberOf};
use carrel_node::raft::wal::{Log, LogOptions, OpenLogError};
use uuid::Uuid;

use crate::platform::{in_virtual_time, simulated, with_file};

const DRAWN: Uuid = Uuid::from_bytes([1; 16]);
const DRAWN_LATER: Uuid = Uuid::from_bytes([2; 16]);
const CLUSTER: MemberOf = MemberOf { cluster_id: Uuid::from_bytes([3; 16]), lineage: 1, node_id: 17 };

const SMALL: LogOptions = LogOptions { segment_bytes: 1024 };

#[test]
fn an_empty_volume_draws_once_and_joins_once() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mount = Path::new("/mount");
        let mut directory = DataDirectory::open(&disk, mount, DRAWN).await.expect("empty");
        assert_eq!(directory.identity().membership, None);
        directory.join(CLUSTER, SMALL).await.expect("joined");
        directory.join(CLUSTER, SMALL).await.expect("the same again is harmless");
        for other in [
            MemberOf { node_id: 18, ..CLUSTER },
            MemberOf { lineage: 2, ..CLUSTER },
            MemberOf { cluster_id: DRAWN, ..CLUSTER },
        ] {
            let refused = directory.join(other, SMALL).await;
            assert!(matches!(refused, Err(IdentityError::AlreadyMember { .. })), "{refused:?}");
        }
        let (log, owner) = (directory.log_directory(), CLUSTER.log_owner());
        drop(directory);
        Log::open(&simulated(&disk), &log, owner).await.expect("begun by joining").close().await;
        for file in disk.files().iter().filter(|file| file.starts_with(&log)) {
            disk.take_away(file);
        }
        let opened = Log::open(&simulated(&disk), &log, owner).await;
        assert!(matches!(opened, Err(OpenLogError::Missing { .. })), "a member that lost its log: {opened:?}");
        let directory = DataDirectory::open(&disk, mount, DRAWN_LATER).await.expect("kept");
        assert_eq!((directory.identity().incarnation, directory.identity().membership), (DRAWN, Some(CLUSTER)));
    });
}

#[test]
fn data_without_an_identity_is_not_taken_for_an_empty_volume() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        disk.replace(Path::new("/mount/data/photo.jpg"), vec![1]);
        let Err(IdentityError::NotEmpty { found, .. }) = DataDirectory::open(&disk, Path::new("/mount"), DRAWN).await
        else {
            panic!("opened");
        };
        assert_eq!(found, "photo.jpg");
        // What the file system puts beside it is none of ours.
        let disk = SimulatedDisk::new();
        disk.replace(Path::new("/mount/lost+found/1"), vec![1]);
        DataDirectory::open(&disk, Path::new("/mount"), DRAWN).await.expect("data is empty");
    });
}

#[test]
fn no_wrong_bit_makes_another_identity() {
    in_virtual_time(async {
        let disk = SimulatedDisk::new();
        let mut directory = DataDirectory::open(&disk, Path::new("/mount"), DRAWN).await.expect("empty");
        directory.join(CLUSTER, SMALL).await.expect("joined");
        let joined = directory.identity();
        let file = PathBuf::from("/mount/data/identity.json");
        let bytes = disk.contents(&file).expect("there");
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            match DataDirectory::open(&with_file(&disk, &file, wrong), Path::new("/mount"), DRAWN_LATER).await {
                Ok(directory) => assert_eq!(directory.identity(), joined, "bit {bit}"),
                Err(IdentityError::Unreadable { .. } | IdentityError::UnknownVersion { .. }) => {}
                Err(other) => panic!("bit {bit}: {other}"),
            }
        }
        for length in 0..bytes.len() - 1 {
            let shorter = with_file(&disk, &file, bytes[..length].to_vec());
            let opened = DataDirectory::open(&shorter, Path::new("/mount"), DRAWN_LATER).await;
            assert!(matches!(opened, Err(IdentityError::Unreadable { .. })), "{length} bytes");
        }
    });
}

#[test]
fn a_real_directory_serves_one_process_at_a_time() {
    in_virtual_time(async {
        let mount = tempfile::tempdir().expect("a directory for the test");
        std::fs::create_dir(mount.path().join("lost+found")).expect("made");
        let first = DataDirectory::open(&RealDisk, mount.path(), DRAWN).await.expect("empty");
        let second = DataDirectory::open(&RealDisk, mount.path(), DRAWN_LATER).await;
        assert!(matches!(second, Err(IdentityError::InUse { .. })), "{second:?}");
        drop(first);
        let again = DataDirectory::open(&RealDisk, mount.path(), DRAWN_LATER).await.expect("free again");
        assert_eq!(again.identity().incarnation, DRAWN);
    });
}
