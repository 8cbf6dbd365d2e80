//! A machine in memory whose power fails: what was not synced is lost, wholly or in part.
//!
//! Calls go to real files, so that reads see what a page cache would show. Beside them stands what is on
//! stable storage, and what is still on its way there. A cut of the power lets a random part of that
//! arrive: sectors of 512 bytes, and names, each on its own. A sync that fails loses a part of its bytes for
//! good, while reads go on showing them and later syncs succeed (what Linux does). A failed sync of a
//! directory loses nothing yet: journals end in a file system that refuses all writes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use eonpro_core::entropy::{Entropy as _, SeededEntropy};

use crate::vfs::{RealVfs, Vfs, VfsFile};

const SECTOR: usize = 512;

/// Random numbers of a seed.
#[derive(Debug)]
pub(super) struct Dice(SeededEntropy);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// A number below `bound`.
    pub(super) fn below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound
    }

    fn coin(&self) -> bool {
        self.below(2) == 0
    }
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    /// The call during which the power fails, from now on.
    pub(super) cut_at: u64,
    /// One call in so many fails; 0 for none.
    pub(super) fails_one_in: u64,
}

/// What is on stable storage: directories, and files with their bytes.
#[derive(Debug, Default)]
pub(super) struct Stable {
    dirs: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Default)]
struct Node {
    stable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(usize),
    Dir(usize),
}

#[derive(Debug, Clone)]
struct Naming {
    name: OsString,
    entry: Option<Entry>,
    /// Its number: a rename between two directories becomes durable in both, or in neither.
    rename: u64,
}

type Names = BTreeMap<OsString, Entry>;

#[derive(Debug, Default)]
struct Dir {
    now: Names,
    stable: Names,
    pending: Vec<Naming>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    nodes: Vec<Node>,
    dirs: Vec<Dir>,
    /// Where each directory is now; the folder is the first.
    paths: BTreeMap<PathBuf, usize>,
    trouble: Trouble,
    off: bool,
    failures: u64,
    renames: u64,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Machine(Arc<Mutex<State>>);

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Goes,
    Fails,
    /// The power fails meanwhile.
    Last,
}

fn failed() -> io::Error {
    io::Error::other("the machine fails")
}

impl State {
    fn fate(&mut self) -> io::Result<Fate> {
        if self.off {
            return Err(failed());
        }
        self.trouble.cut_at = self.trouble.cut_at.saturating_sub(1);
        if self.trouble.cut_at == 0 {
            self.off = true;
            return Ok(Fate::Last);
        }
        let one_in = self.trouble.fails_one_in;
        if one_in > 0 && self.dice.below(one_in) == 0 {
            self.failures += 1;
            return Ok(Fate::Fails);
        }
        Ok(Fate::Goes)
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        let dir = self.paths.get(path).and_then(|dir| self.dirs.get_mut(*dir));
        dir.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, path: &Path, entry: Option<Entry>) -> io::Result<()> {
        let (parent, name) = (path.parent().unwrap(), path.file_name().unwrap());
        let rename = self.renames;
        let dir = self.dir(parent)?;
        let naming = Naming {
            name: name.to_owned(),
            entry,
            rename,
        };
        naming.clone().apply(&mut dir.now);
        dir.pending.push(naming);
        Ok(())
    }

    fn find(&mut self, path: &Path) -> io::Result<Option<Entry>> {
        let (parent, name) = (path.parent().unwrap(), path.file_name().unwrap());
        Ok(self.dir(parent)?.now.get(name).copied())
    }

    /// A call that takes effect or not: whether it does, and whether it is told as a failure.
    fn naming(&mut self) -> io::Result<(bool, bool)> {
        self.renames += 1;
        let fate = self.fate()?;
        let takes_effect = fate == Fate::Goes || self.dice.coin();
        Ok((takes_effect, fate != Fate::Goes))
    }

    fn stable(&mut self) -> Stable {
        let mut stable = Stable::default();
        let Self {
            dice, dirs, nodes, ..
        } = self;
        let mut arrives = BTreeMap::new();
        for dir in dirs.iter_mut() {
            for naming in std::mem::take(&mut dir.pending) {
                if *arrives.entry(naming.rename).or_insert_with(|| dice.coin()) {
                    naming.apply(&mut dir.stable);
                }
            }
        }
        for node in nodes.iter_mut() {
            for change in std::mem::take(&mut node.pending) {
                change.arrive_in_part(&mut node.stable, dice);
            }
        }
        let mut todo = vec![(PathBuf::new(), 0)];
        while let Some((path, dir)) = todo.pop() {
            for (name, entry) in &dirs[dir].stable {
                let inside = path.join(name);
                match entry {
                    Entry::Dir(dir) => {
                        stable.dirs.push(inside.clone());
                        todo.push((inside, *dir));
                    }
                    Entry::File(node) => {
                        let bytes = nodes[*node].stable.clone();
                        stable.files.insert(inside, bytes);
                    }
                }
            }
        }
        stable
    }
}

impl Naming {
    fn apply(self, names: &mut Names) {
        match self.entry {
            Some(entry) => _ = names.insert(self.name, entry),
            None => _ = names.remove(&self.name),
        }
    }
}

fn write(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

impl Change {
    fn arrive(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, new) => write(bytes, *at, new),
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// Some sectors of it arrive.
    fn arrive_in_part(&self, bytes: &mut Vec<u8>, dice: &Dice) {
        let Self::Write(at, new) = self else {
            if dice.coin() {
                self.arrive(bytes);
            }
            return;
        };
        let all = dice.below(4);
        let mut from = 0;
        while from < new.len() {
            let sector_end = ((at + from) / SECTOR + 1) * SECTOR - at;
            let until = sector_end.min(new.len());
            if all == 0 || (all > 1 && dice.coin()) {
                write(bytes, at + from, &new[from..until]);
            }
            from = until;
        }
    }
}

impl Machine {
    /// A machine that finds `stable` on its disk, in a folder of its own.
    pub(super) fn boot(folder: &Path, stable: Stable, seed: u64) -> Self {
        let mut dirs = vec![Dir::default()];
        let mut paths = BTreeMap::from([(folder.to_owned(), 0)]);
        let mut named = Vec::new();
        let mut nodes = Vec::new();
        fs::create_dir_all(folder).unwrap();
        for inside in stable.dirs {
            fs::create_dir_all(folder.join(&inside)).unwrap();
            named.push((folder.join(&inside), Entry::Dir(dirs.len())));
            paths.insert(folder.join(inside), dirs.len());
            dirs.push(Dir::default());
        }
        for (inside, bytes) in stable.files {
            fs::write(folder.join(&inside), &bytes).unwrap();
            named.push((folder.join(inside), Entry::File(nodes.len())));
            nodes.push(Node {
                stable: bytes,
                pending: Vec::new(),
            });
        }
        for (path, entry) in named {
            let dir = &mut dirs[paths[path.parent().unwrap()]];
            let name = path.file_name().unwrap().to_owned();
            dir.now.insert(name.clone(), entry);
            dir.stable.insert(name, entry);
        }
        let trouble = Trouble {
            cut_at: u64::MAX,
            fails_one_in: 0,
        };
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            nodes,
            dirs,
            paths,
            trouble,
            off: false,
            failures: 0,
            renames: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn expect(&self, trouble: Trouble) {
        let mut state = self.lock();
        state.trouble = trouble;
        state.off = false;
    }

    /// Every later call fails, and changes nothing.
    pub(super) fn halt(&self) {
        self.lock().off = true;
    }

    /// Whether a call has failed, or the power.
    pub(super) fn troubled(&self) -> bool {
        let state = self.lock();
        state.off || state.failures > 0
    }

    /// What the next machine finds.
    pub(super) fn cut(&self) -> Stable {
        self.lock().stable()
    }

    fn file(&self, node: usize, file: Box<dyn VfsFile>) -> Box<dyn VfsFile> {
        let machine = self.clone();
        Box::new(MachineFile {
            machine,
            node,
            file,
        })
    }
}

impl Vfs for Machine {
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.lock();
        if state.fate()? != Fate::Goes {
            return Err(failed());
        }
        match state.find(path)? {
            Some(Entry::File(node)) => Ok(self.file(node, RealVfs.open(path)?)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.lock();
        let (takes_effect, fails) = state.naming()?;
        if !takes_effect {
            return Err(failed());
        }
        let node = if let Some(Entry::File(node)) = state.find(path)? {
            state.nodes[node].pending.push(Change::Length(0));
            node
        } else {
            state.nodes.push(Node::default());
            let node = state.nodes.len() - 1;
            state.name(path, Some(Entry::File(node)))?;
            node
        };
        let file = RealVfs.create(path)?;
        match fails {
            true => Err(failed()),
            false => Ok(self.file(node, file)),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let (takes_effect, fails) = state.naming()?;
        if takes_effect {
            RealVfs.create_dir(path)?;
            let dir = state.dirs.len();
            state.name(path, Some(Entry::Dir(dir)))?;
            state.dirs.push(Dir::default());
            state.paths.insert(path.to_owned(), dir);
        }
        told(fails)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let (takes_effect, fails) = state.naming()?;
        if takes_effect {
            let entry = state.find(from)?;
            RealVfs.rename(from, to)?;
            state.name(to, entry)?;
            state.name(from, None)?;
            state.move_dirs(from, to);
        }
        told(fails)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let (takes_effect, fails) = state.naming()?;
        if takes_effect {
            RealVfs.remove(path)?;
            state.name(path, None)?;
        }
        told(fails)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.fate()? != Fate::Goes {
            return Err(failed());
        }
        let Ok(pending) = state.dir(dir).map(|dir| dir.pending.clone()) else {
            // Above the machine's folder.
            return Ok(());
        };
        for dir in &mut state.dirs {
            let is_synced = |naming: &Naming| pending.iter().any(|it| it.rename == naming.rename);
            let (synced, rest) = std::mem::take(&mut dir.pending)
                .into_iter()
                .partition(is_synced);
            dir.pending = rest;
            for naming in Vec::<Naming>::from_iter(synced) {
                naming.apply(&mut dir.stable);
            }
        }
        Ok(())
    }
}

impl State {
    fn move_dirs(&mut self, from: &Path, to: &Path) {
        let below = self.paths.keys().filter(|dir| dir.starts_with(from));
        for dir in below.cloned().collect::<Vec<_>>() {
            let moved = to.join(dir.strip_prefix(from).unwrap());
            let moved: PathBuf = moved.components().collect();
            let id = self.paths.remove(&dir).unwrap();
            self.paths.insert(moved, id);
        }
    }
}

fn told(fails: bool) -> io::Result<()> {
    match fails {
        true => Err(failed()),
        false => Ok(()),
    }
}

#[derive(Debug)]
struct MachineFile {
    machine: Machine,
    node: usize,
    file: Box<dyn VfsFile>,
}

impl MachineFile {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.machine.lock();
        let fate = state.fate()?;
        // The power may fail after the bytes have arrived and before anybody is told.
        let arrives = fate == Fate::Goes || (fate == Fate::Last && state.dice.coin());
        let State { nodes, dice, .. } = &mut *state;
        let node = &mut nodes[self.node];
        if arrives || fate == Fate::Fails {
            for change in std::mem::take(&mut node.pending) {
                match arrives {
                    true => change.arrive(&mut node.stable),
                    // What does not arrive now never will.
                    false => change.arrive_in_part(&mut node.stable, dice),
                }
            }
        }
        told(fate != Fate::Goes)
    }
}

impl VfsFile for MachineFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.machine.lock();
        let fate = state.fate()?;
        let short = fate == Fate::Fails || (bytes.len() > 1 && state.dice.below(8) == 0);
        let most = match short {
            true => 1 + state.dice.below(bytes.len() as u64) as usize,
            false => bytes.len(),
        };
        let part = &bytes[..most];
        self.file.write_all_at(part, offset)?;
        let change = Change::Write(usize::try_from(offset).unwrap(), part.to_vec());
        state.nodes[self.node].pending.push(change);
        match fate {
            Fate::Goes => Ok(most),
            Fate::Fails | Fate::Last => Err(failed()),
        }
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.machine.lock();
        let (takes_effect, fails) = state.naming()?;
        if takes_effect {
            self.file.set_len(length)?;
            let change = Change::Length(usize::try_from(length).unwrap());
            state.nodes[self.node].pending.push(change);
        }
        told(fails)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync()
    }
}

impl Stable {
    /// Flips a bit of a file.
    pub(super) fn flip(&mut self, path: &Path, at: usize) {
        self.files.get_mut(path).unwrap()[at] ^= 1;
    }

    /// The files below `dir`, by their names there.
    pub(super) fn below(&self, dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let below = self.files.iter().filter_map(|(path, bytes)| {
            let name = path.strip_prefix(dir).ok()?;
            Some((name.to_str().unwrap().to_owned(), bytes.clone()))
        });
        below.collect()
    }
}
