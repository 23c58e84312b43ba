//! Small named values that outlive a restart and are shared by nodes, such as tokens. What they mean is their owners' affair.

use super::Error;

/// The longest name, in bytes.
pub const NAME_MAX_BYTES: usize = 128;
/// The longest value, in bytes.
pub const BYTES_MAX: usize = 64 << 10;

/// A small named value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Counts how often it was kept; at least 1.
    pub version: u64,
    /// The value.
    pub bytes: Vec<u8>,
}

/// Refuses what is too large to be a note.
pub(super) fn check(name: &str, bytes: &[u8]) -> Result<(), Error> {
    let refuse = |why| Err(Error::Unavailable(format!("note {name:.64?} is not kept: {why}")));
    match (name.len(), bytes.len()) {
        (0, _) => refuse("it has no name".to_owned()),
        (long, _) if long > NAME_MAX_BYTES => {
            refuse(format!("its name has {long} bytes, and at most {NAME_MAX_BYTES} are taken"))
        }
        (_, long) if long > BYTES_MAX => refuse(format!("it has {long} bytes, and at most {BYTES_MAX} are taken")),
        (_, _) => Ok(()),
    }
}
