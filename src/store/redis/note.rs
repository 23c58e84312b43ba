//! Small named values, under the tag of the control plane: `<version>\n<value>`.

use super::{call::Call, record::split_line, scripts, shared::Shared};
use crate::store::{
    Error, Note, note,
    rows::{Named, Row},
};

impl Shared {
    pub(super) async fn note(&self, name: &str) -> Result<Option<Note>, Error> {
        let notes = &self.keys.notes;
        let kept: Option<Vec<u8>> = self.ask_one(Call::command("HGET", notes).arg(name), notes).await?;
        kept.map(|kept| self.read_note(name, &kept)).transpose()
    }

    pub(super) async fn keep_note(&self, name: &str, bytes: &[u8], version: u64) -> Result<Option<u64>, Error> {
        note::check(name, bytes)?;
        let notes = &self.keys.notes;
        let call = Call::script(&scripts::NOTE, &[notes]).arg(name).arg(version).arg(bytes).durable();
        let version: i64 = self.ask_one(call, notes).await?;
        Ok(u64::try_from(version).ok())
    }

    /// Every note, by name.
    pub(super) async fn named(&self) -> Result<Vec<Row>, Error> {
        let notes = &self.keys.notes;
        let mut kept: Vec<(String, Vec<u8>)> = self.ask_one(Call::command("HGETALL", notes), notes).await?;
        kept.sort_unstable();
        let row = |(name, kept): (String, Vec<u8>)| {
            let Note { version, bytes } = self.read_note(&name, &kept)?;
            Ok(Row::Note(Named { name, version, bytes }))
        };
        kept.into_iter().map(row).collect()
    }

    pub(super) fn import_note(&self, note: &Named) -> Call {
        let mut kept = format!("{}\n", note.version).into_bytes();
        kept.extend_from_slice(&note.bytes);
        Call::command("HSET", &self.keys.notes).arg(&note.name).arg(kept).durable()
    }

    fn read_note(&self, name: &str, kept: &[u8]) -> Result<Note, Error> {
        let read = || {
            let (version, bytes) = split_line(kept)?;
            Some(Note { version: version.parse().ok()?, bytes: bytes.to_vec() })
        };
        read().ok_or_else(|| Error::Corrupt(format!("field {name:?} of {}: no note", self.keys.notes)))
    }
}
