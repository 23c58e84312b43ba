//! A disk in memory that keeps apart what is on it and what the kernel remembers, loses power, and fails when told to.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use redb::{Builder, DatabaseError, StorageBackend};

use crate::{entropy::Entropy, store::embedded::disk};

/// The disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What a power cut leaves.
    platter: Vec<u8>,
    /// What reading gives.
    memory: Vec<u8>,
    /// Since the last synchronisation.
    waiting: Vec<Op>,
    /// Everything that ever happened, if it is recorded.
    history: Option<Vec<Event>>,
    fault: Option<Fault>,
    syncs: usize,
}

/// What changes a file.
#[derive(Clone)]
pub(super) enum Op {
    Write(u64, Arc<[u8]>),
    Length(u64),
}

/// What is recorded.
#[derive(Clone)]
pub(super) enum Event {
    Did(Op),
    Synced,
    /// So many calls were answered.
    Answered(usize),
}

/// Which kind of call fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Call {
    Read,
    Write,
    Length,
    Sync,
}

/// What is to go wrong.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) call: Call,
    pub(super) error: io::ErrorKind,
    /// Calls of the kind that still succeed.
    pub(super) after: usize,
    /// How many fail then.
    pub(super) times: usize,
    pub(super) damage: Damage,
}

/// What a failed call has done all the same.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    /// Nothing.
    None,
    /// Everything that it was to do.
    Lie,
    /// Of a synchronisation: some of the writes came to the disk, and the kernel takes the others for written.
    Lost(Cut),
    /// It panics.
    Panic,
}

/// Which of the writes since the last synchronisation a power cut leaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Nothing,
    Everything,
    /// Only those to the first page, where the roots are.
    Head,
    /// All others.
    Tail,
    /// Sectors of so many bytes, each by chance from this seed.
    Torn(usize, u64),
}

impl Disk {
    /// With a file that was just made.
    pub(super) fn new() -> Disk {
        let disk = Disk::default();
        drop(Builder::new().create_with_backend(disk.clone()).expect("is made"));
        disk
    }

    pub(super) fn of(bytes: Vec<u8>) -> Disk {
        let disk = Disk::default();
        disk.with(|state| (state.memory, state.platter) = (bytes.clone(), bytes));
        disk
    }

    pub(super) fn record(&self) {
        self.with(|state| state.history = Some(Vec::new()));
    }

    pub(super) fn answered(&self, calls: usize) {
        self.with(|state| state.history.as_mut().expect("is recorded").push(Event::Answered(calls)));
    }

    pub(super) fn history(&self) -> Vec<Event> {
        self.with(|state| state.history.clone().expect("was recorded"))
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.with(|state| state.fault = Some(fault));
    }

    pub(super) fn obey(&self) {
        self.with(|state| state.fault = None);
    }

    pub(super) fn syncs(&self) -> usize {
        self.with(|state| state.syncs)
    }

    /// What is on the disk after a power cut.
    pub(super) fn platter(&self, cut: Cut) -> Vec<u8> {
        self.with(|state| left(&state.platter, &state.waiting, cut))
    }

    fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, op: Op, call: Call) -> io::Result<()> {
        self.with(|state| {
            let verdict = state.verdict(call);
            if matches!(verdict, Ok(()) | Err((_, Damage::Lie))) {
                apply(&mut state.memory, &op);
                state.waiting.push(op.clone());
                state.note(Event::Did(op));
            }
            verdict.map_err(|(error, _)| error)
        })
    }
}

/// What of `platter` and the writes after it remains.
pub(super) fn left(platter: &[u8], waiting: &[Op], cut: Cut) -> Vec<u8> {
    let mut bytes = platter.to_vec();
    let dice = match cut {
        Cut::Torn(_, seed) => Some(Entropy::seeded(seed)),
        Cut::Nothing | Cut::Everything | Cut::Head | Cut::Tail => None,
    };
    let by_chance = || dice.as_ref().is_some_and(|dice| dice.bits().is_multiple_of(2));
    for op in waiting {
        let keeps = match (cut, op) {
            (Cut::Nothing, _) => false,
            (Cut::Everything, _) => true,
            (Cut::Head, Op::Write(offset, _)) => *offset == 0,
            (Cut::Tail, Op::Write(offset, _)) => *offset > 0,
            (Cut::Head, Op::Length(_)) => false,
            (Cut::Tail, Op::Length(_)) => true,
            (Cut::Torn(..), Op::Length(_)) => by_chance(),
            (Cut::Torn(sector, _), Op::Write(offset, data)) => {
                let sectors = data.chunks(sector).zip((*offset..).step_by(sector));
                for (part, offset) in sectors.filter(|_| by_chance()) {
                    apply(&mut bytes, &Op::Write(offset, part.into()));
                }
                false
            }
        };
        if keeps {
            apply(&mut bytes, op);
        }
    }
    bytes
}

pub(super) fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, data) => {
            let offset = usize::try_from(*offset).expect("small");
            let end = offset + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[offset..end].copy_from_slice(data);
        }
        Op::Length(length) => bytes.resize(usize::try_from(*length).expect("small"), 0),
    }
}

impl State {
    fn verdict(&mut self, call: Call) -> Result<(), (io::Error, Damage)> {
        let Some(fault) = self.fault.as_mut().filter(|fault| fault.call == call && fault.times > 0) else {
            return Ok(());
        };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        fault.times -= 1;
        assert!(!matches!(fault.damage, Damage::Panic), "a planned panic");
        Err((fault.error.into(), fault.damage.clone()))
    }

    fn note(&mut self, event: Event) {
        if let Some(history) = &mut self.history {
            history.push(event);
        }
    }

    fn sync(&mut self, cut: Cut) {
        self.platter = left(&self.platter, &self.waiting, cut);
        self.waiting.clear();
        self.note(Event::Synced);
        self.syncs += 1;
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.memory.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state| {
            state.verdict(Call::Read).map_err(|(error, _)| error)?;
            let offset = usize::try_from(offset).expect("small");
            let bytes = state.memory.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Op::Length(len), Call::Length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| match state.verdict(Call::Sync) {
            Ok(()) => {
                state.sync(Cut::Everything);
                Ok(())
            }
            Err((error, Damage::None | Damage::Panic)) => Err(error),
            Err((error, Damage::Lie)) => {
                state.sync(Cut::Everything);
                Err(error)
            }
            Err((error, Damage::Lost(cut))) => {
                state.sync(cut);
                Err(error)
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Op::Write(offset, data.into()), Call::Write)
    }
}

impl disk::Disk for Disk {
    fn open(&self) -> Result<Box<dyn StorageBackend>, DatabaseError> {
        Ok(Box::new(self.clone()))
    }

    fn settle(&self) -> io::Result<()> {
        self.sync_data()?;
        self.with(|state| state.memory.clone_from(&state.platter));
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.with(|state| state.memory.len() as u64)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("length", &self.memory.len()).field("fault", &self.fault).finish_non_exhaustive()
    }
}
