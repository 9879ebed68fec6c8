//! A disk in memory that keeps only what it promised to keep: a crash may lose or tear what was not synced, a name may
//! vanish whose directory was not synced, a sync may fail, space may end, and tests may damage what lies there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::raft::disk::{Disk, DiskFile, ReadFile};

/// A sector is written whole or not at all; 512 bytes is the least any disk in use promises.
const SECTOR_BYTES: usize = 512;

/// What of the unsynced writes and names is there after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    Nothing,
    Everything,
    /// Each sector and each name by a throw of the dice, the same for the same seed.
    Random(u64),
    /// The sectors and names whose bits are set, in the order in which they are looked at; see
    /// [`SimulatedDisk::at_stake`].
    Chosen(u64),
}

/// What a delay is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    /// Syncs of files and directories.
    Sync,
    /// Creating a file of zeroes.
    Create,
}

type Delay = dyn Fn(Operation) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    delay: Option<Arc<Delay>>,
}

pub struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

#[derive(Debug)]
pub struct SimulatedLock {
    disk: SimulatedDisk,
    dir: PathBuf,
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    /// Names as processes see them, and as they would be after a crash that loses everything it may.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    directories: BTreeSet<PathBuf>,
    locked: BTreeSet<PathBuf>,
    /// Operations so far that change something.
    changes: u64,
    /// Power is cut when so many have happened.
    cut_after: Option<u64>,
    cut: bool,
    fail_next_sync: bool,
    capacity_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync, in order: offset and bytes.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    pub fn new() -> Self {
        Self { state: Arc::default(), delay: None }
    }

    /// The same disk, where each operation first waits for what `delay` returns.
    pub fn with_delay(
        mut self,
        delay: impl Fn(Operation) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + 'static,
    ) -> Self {
        self.delay = Some(Arc::new(delay));
        self
    }

    /// Cuts power: every later operation on this disk fails, and what survived is on the disk returned.
    pub fn crash(&self, survival: Survival) -> SimulatedDisk {
        let survived = self.imagine_crash(survival);
        self.state().cut = true;
        SimulatedDisk { delay: self.delay.clone(), ..survived }
    }

    /// What [`SimulatedDisk::crash`] would leave, on a disk that takes no time. This one goes on.
    pub fn imagine_crash(&self, survival: Survival) -> SimulatedDisk {
        let state = self.state();
        let mut dice = Dice::new(survival);
        let names = state.names_after_crash(&mut dice);
        // Nobody can open what has no name any more.
        let named: BTreeSet<usize> = names.values().copied().collect();
        let after_crash = |(number, inode): (usize, &Inode)| {
            if named.contains(&number) { inode.after_crash(&mut dice) } else { Inode::default() }
        };
        let inodes = state.inodes.iter().enumerate().map(after_crash).collect();
        let survived = State {
            inodes,
            durable_names: names.clone(),
            names,
            directories: state.directories.clone(),
            capacity_bytes: state.capacity_bytes,
            ..State::default()
        };
        SimulatedDisk { state: Arc::new(Mutex::new(survived)), delay: None }
    }

    /// How many sectors and names a crash may keep or lose, one by one, at most: what has no name any more needs no
    /// sectors.
    pub fn at_stake(&self) -> u32 {
        let state = self.state();
        let mut dice = Dice::new(Survival::Everything);
        let _ = state.names_after_crash(&mut dice);
        for inode in &state.inodes {
            let _ = inode.after_crash(&mut dice);
        }
        dice.throws
    }

    /// A number for everything that processes see, by which two disks can be told apart.
    pub fn fingerprint(&self) -> u64 {
        let state = self.state();
        let mut hasher = DefaultHasher::new();
        for (path, inode) in &state.names {
            (path, &state.inodes[*inode].current).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The process ends, the machine goes on: every later operation on this disk fails, and on the one returned all
    /// that was written is still read, and still not durable.
    pub fn kill(&self) -> SimulatedDisk {
        let mut state = self.state();
        state.cut = true;
        let alive = State { cut: false, cut_after: None, locked: BTreeSet::new(), ..state.clone() };
        SimulatedDisk { state: Arc::new(Mutex::new(alive)), delay: self.delay.clone() }
    }

    /// An independent copy of what processes see, all of it durable.
    pub fn copy(&self) -> SimulatedDisk {
        let mut state = self.state().clone();
        for inode in &mut state.inodes {
            inode.durable.clone_from(&inode.current);
            inode.unsynced.clear();
        }
        state.durable_names = state.names.clone();
        state.locked.clear();
        SimulatedDisk { state: Arc::new(Mutex::new(state)), delay: self.delay.clone() }
    }

    /// How many operations have changed something. A write counts when it is made, a sync when it is.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Power fails after so many changes (counted from the disk's beginning): the rest and all reads fail.
    pub fn cut_after(&self, changes: u64) {
        self.state().cut_after = Some(changes);
    }

    /// The next sync fails, and what it should have made durable never will be, though reads show it and later syncs
    /// succeed.
    pub fn fail_next_sync(&self) {
        self.state().fail_next_sync = true;
    }

    /// Space for so many bytes in files, or without limit.
    pub fn limit(&self, capacity_bytes: Option<u64>) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// Bytes in files, as processes see them.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Bytes of each file that has lost its name.
    pub fn nameless_files_bytes(&self) -> Vec<u64> {
        let state = self.state();
        let named: BTreeSet<usize> = state.names.values().copied().collect();
        let nameless = state.inodes.iter().enumerate().filter(|(inode, _)| !named.contains(inode));
        nameless.map(|(_, file)| file.current.len() as u64).collect()
    }

    /// All files, in order of their names.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|inode| state.inodes[*inode].current.clone())
    }

    /// Damage: the file now holds these bytes, durably.
    pub fn replace(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let inode = state.add(Inode { durable: bytes.clone(), current: bytes, unsynced: Vec::new() });
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
        state.directories.extend(path.ancestors().skip(1).map(Path::to_owned));
    }

    /// Damage: the file is gone, durably.
    pub fn take_away(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lock")
    }

    async fn wait(&self, operation: Operation) {
        if let Some(delay) = &self.delay {
            delay(operation).await;
        }
    }
}

impl State {
    fn reading(&self) -> io::Result<()> {
        if self.cut { Err(io::Error::other("the disk has no power")) } else { Ok(()) }
    }

    /// Called before each change: counts it, and says whether it may still happen.
    fn changing(&mut self) -> io::Result<()> {
        if self.cut_after.is_some_and(|limit| self.changes >= limit) {
            self.cut = true;
        }
        self.reading()?;
        self.changes += 1;
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no file {}", path.display()));
        self.names.get(path).copied().ok_or_else(missing)
    }

    fn add(&mut self, inode: Inode) -> usize {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].current.len() as u64).sum()
    }

    fn reserve(&self, more_bytes: usize) -> io::Result<()> {
        let used = self.used_bytes();
        match self.capacity_bytes {
            Some(capacity) if used + more_bytes as u64 > capacity => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("the disk is full: {more_bytes} bytes more than {used} of {capacity}"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn names_after_crash(&self, dice: &mut Dice) -> BTreeMap<PathBuf, usize> {
        let mut names = BTreeMap::new();
        let touched: BTreeSet<&PathBuf> = self.names.keys().chain(self.durable_names.keys()).collect();
        for path in touched {
            let (new, old) = (self.names.get(path), self.durable_names.get(path));
            let kept = if new == old || dice.survives() { new } else { old };
            if let Some(inode) = kept {
                names.insert(path.clone(), *inode);
            }
        }
        names
    }
}

impl Inode {
    fn after_crash(&self, dice: &mut Dice) -> Inode {
        let mut bytes = self.durable.clone();
        for (offset, written) in &self.unsynced {
            let mut start = 0;
            while start < written.len() {
                let sector_ends = SECTOR_BYTES - (offset + start) % SECTOR_BYTES;
                let end = written.len().min(start + sector_ends);
                if dice.survives() {
                    put(&mut bytes, offset + start, &written[start..end]);
                }
                start = end;
            }
        }
        Inode { current: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// SplitMix64: a handful of lines, and the same throws for ever, whatever a library does.
struct Dice {
    survival: Survival,
    state: u64,
    throws: u32,
}

impl Dice {
    fn new(survival: Survival) -> Self {
        let state = match survival {
            Survival::Nothing | Survival::Everything => 0,
            Survival::Random(seed) | Survival::Chosen(seed) => seed,
        };
        Self { survival, state, throws: 0 }
    }

    fn survives(&mut self) -> bool {
        self.throws += 1;
        match self.survival {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Random(_) => {
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = self.state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (mixed ^ (mixed >> 31)) & 1 == 1
            }
            Survival::Chosen(_) => {
                let survives = self.state & 1 == 1;
                self.state >>= 1;
                survives
            }
        }
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;
    type Lock = SimulatedLock;

    async fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.wait(Operation::Sync).await;
        let mut state = self.state();
        state.changing()?;
        state.directories.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.wait(Operation::Read).await;
        let state = self.state();
        state.reading()?;
        if !state.directories.contains(dir) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no directory {}", dir.display())));
        }
        let inside = state.names.keys().chain(&state.directories).filter(|path| path.parent() == Some(dir));
        let names: BTreeSet<String> =
            inside.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect();
        Ok(names.into_iter().collect())
    }

    async fn open(&self, path: &Path) -> io::Result<SimulatedFile> {
        self.wait(Operation::Read).await;
        let state = self.state();
        state.reading()?;
        let inode = state.find(path)?;
        Ok(SimulatedFile { disk: self.clone(), inode })
    }

    async fn open_to_read(&self, path: &Path) -> io::Result<SimulatedFile> {
        self.open(path).await
    }

    async fn create(&self, path: &Path, zeroed_bytes: u64) -> io::Result<SimulatedFile> {
        self.wait(Operation::Create).await;
        let mut state = self.state();
        state.changing()?;
        let length = usize::try_from(zeroed_bytes).expect("simulated files fit into memory");
        state.reserve(length)?;
        let inode = state.add(Inode { current: vec![0; length], durable: vec![0; length], unsynced: Vec::new() });
        state.names.insert(path.to_owned(), inode);
        Ok(SimulatedFile { disk: self.clone(), inode })
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.wait(Operation::Write).await;
        let mut state = self.state();
        state.changing()?;
        let inode = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.wait(Operation::Write).await;
        let mut state = self.state();
        state.changing()?;
        state.find(path)?;
        state.names.remove(path);
        Ok(())
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.wait(Operation::Sync).await;
        let mut state = self.state();
        state.changing()?;
        let State { names, durable_names, .. } = &mut *state;
        durable_names.retain(|path, _| path.parent() != Some(dir));
        let inside = names.iter().filter(|(path, _)| path.parent() == Some(dir));
        durable_names.extend(inside.map(|(path, inode)| (path.clone(), *inode)));
        Ok(())
    }

    async fn lock(&self, dir: &Path) -> io::Result<SimulatedLock> {
        let mut state = self.state();
        state.reading()?;
        if !state.locked.insert(dir.to_owned()) {
            let message = format!("{} is in use by another process", dir.display());
            return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
        }
        Ok(SimulatedLock { disk: self.clone(), dir: dir.to_owned() })
    }
}

impl ReadFile for SimulatedFile {
    async fn length(&self) -> io::Result<u64> {
        self.disk.wait(Operation::Read).await;
        let state = self.disk.state();
        state.reading()?;
        Ok(state.inodes[self.inode].current.len() as u64)
    }

    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.disk.wait(Operation::Read).await;
        let state = self.disk.state();
        state.reading()?;
        let start = usize::try_from(offset).expect("simulated files fit into memory");
        let bytes = start.checked_add(length).and_then(|end| state.inodes[self.inode].current.get(start..end));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before"))
    }
}

impl DiskFile for SimulatedFile {
    async fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.wait(Operation::Write).await;
        let mut state = self.disk.state();
        state.changing()?;
        let offset = usize::try_from(offset).expect("simulated files fit into memory");
        let longer = (offset + bytes.len()).saturating_sub(state.inodes[self.inode].current.len());
        state.reserve(longer)?;
        let inode = &mut state.inodes[self.inode];
        put(&mut inode.current, offset, bytes);
        inode.unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }

    async fn shorten(&self, length: u64) -> io::Result<()> {
        self.disk.wait(Operation::Write).await;
        let mut state = self.disk.state();
        state.changing()?;
        let length = usize::try_from(length).expect("simulated files fit into memory");
        // At once also on disk: a caller that does this to a file with a name finds it damaged after a crash.
        let Inode { current, durable, unsynced } = &mut state.inodes[self.inode];
        current.truncate(length);
        durable.truncate(length);
        unsynced.clear();
        Ok(())
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.disk.wait(Operation::Sync).await;
        let mut state = self.disk.state();
        state.changing()?;
        let failing = std::mem::take(&mut state.fail_next_sync);
        let inode = &mut state.inodes[self.inode];
        let unsynced = std::mem::take(&mut inode.unsynced);
        if failing {
            return Err(io::Error::other("the disk could not write what it was given"));
        }
        for (offset, bytes) in unsynced {
            put(&mut inode.durable, offset, &bytes);
        }
        Ok(())
    }
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.dir);
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").finish_non_exhaustive()
    }
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedFile").field("inode", &self.inode).finish_non_exhaustive()
    }
}
