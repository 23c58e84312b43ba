//! What of the acknowledged writes a crash can lose: one word for every engine.

/// What of the acknowledged writes a crash of the machine that keeps them can lose; the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// Nothing: every write is on disk before it is answered.
    Nothing,
    /// About the last second; two while the disk is slow.
    Second,
    /// What the operating system had not written yet, up to half a minute on Linux.
    Buffered,
    /// Everything since the last snapshot.
    SinceSnapshot,
    /// Everything: nothing is written to disk.
    Everything,
    /// It can't be told.
    Unknown,
}

impl Loss {
    /// Each of them.
    pub const ALL: [Loss; 6] =
        [Loss::Nothing, Loss::Second, Loss::Buffered, Loss::SinceSnapshot, Loss::Everything, Loss::Unknown];

    /// Its name, for those who run the node.
    pub fn name(self) -> &'static str {
        match self {
            Loss::Nothing => "nothing",
            Loss::Second => "second",
            Loss::Buffered => "buffered",
            Loss::SinceSnapshot => "since_snapshot",
            Loss::Everything => "everything",
            Loss::Unknown => "unknown",
        }
    }
}
