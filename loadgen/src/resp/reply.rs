//! Reads what a server says in RESP 2. It borrows; nothing is copied.

use anyhow::{bail, ensure};

/// No reply that is asked for is longer.
const BYTES_MAX: usize = 64 << 20;
/// Replies to what is sent here have no deeper arrays.
const DEPTH_MAX: usize = 4;
/// Nor longer ones.
const ITEMS_MAX: usize = 1 << 16;

/// One value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    /// Nothing if it is null.
    Bulk(Option<&'a [u8]>),
    Array(Vec<Value<'a>>),
}

/// The first value and its length; nothing if it is not there as a whole.
///
/// # Errors
/// If it is none.
pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Value<'_>, usize)>> {
    value(bytes, DEPTH_MAX)
}

fn value(bytes: &[u8], depth: usize) -> anyhow::Result<Option<(Value<'_>, usize)>> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        ensure!(bytes.len() < BYTES_MAX, "the server speaks no RESP: a line without an end");
        return Ok(None);
    };
    let (line, after) = (&bytes[..end], end + 2);
    let Some((kind, rest)) = line.split_first() else { bail!("the server speaks no RESP: an empty line") };
    match kind {
        b'+' => Ok(Some((Value::Simple(rest), after))),
        b'-' => Ok(Some((Value::Error(rest), after))),
        b':' => Ok(Some((Value::Integer(number(rest)?), after))),
        b'$' => bulk(bytes, number(rest)?, after),
        b'*' => array(bytes, number(rest)?, (after, depth)),
        _ => bail!("the server speaks no RESP 2: a line that begins with {:?}", char::from(*kind)),
    }
}

fn bulk(bytes: &[u8], length: i64, after: usize) -> anyhow::Result<Option<(Value<'_>, usize)>> {
    if length == -1 {
        return Ok(Some((Value::Bulk(None), after)));
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= BYTES_MAX);
    let Some(length) = length else { bail!("the server says too long a string") };
    let end = after + length;
    let Some(tail) = bytes.get(end..end + 2) else { return Ok(None) };
    ensure!(tail == b"\r\n", "the server speaks no RESP: a string of another length than it says");
    Ok(Some((Value::Bulk(Some(&bytes[after..end])), end + 2)))
}

fn array(bytes: &[u8], items: i64, (after, depth): (usize, usize)) -> anyhow::Result<Option<(Value<'_>, usize)>> {
    if items == -1 {
        return Ok(Some((Value::Bulk(None), after)));
    }
    let items = usize::try_from(items).ok().filter(|items| *items <= ITEMS_MAX && depth > 0);
    let Some(items) = items else { bail!("the server says too long or too deep an array") };
    let (mut values, mut at) = (Vec::new(), after);
    for _ in 0..items {
        let Some((value, length)) = value(&bytes[at..], depth - 1)? else { return Ok(None) };
        values.push(value);
        at += length;
    }
    Ok(Some((Value::Array(values), at)))
}

fn number(digits: &[u8]) -> anyhow::Result<i64> {
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number
        .ok_or_else(|| anyhow::anyhow!("the server speaks no RESP: {:?} is no number", String::from_utf8_lossy(digits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n:-7\r\n*1\r\n$-1\r\n+OK\r\n";

    #[test]
    fn values_are_read_one_after_the_other() {
        let (value, length) = parse(MESSAGE).expect("RESP").expect("whole");
        let inner = Value::Array(vec![Value::Bulk(None)]);
        assert_eq!(value, Value::Array(vec![Value::Bulk(Some(b"message")), Value::Integer(-7), inner]));
        assert_eq!(parse(&MESSAGE[length..]).expect("RESP"), Some((Value::Simple(b"OK"), 5)));
        assert_eq!(parse(b"-ERR no\r\n").expect("RESP"), Some((Value::Error(b"ERR no"), 9)));
    }

    #[test]
    fn a_part_is_no_value_yet() {
        let whole = MESSAGE.len() - b"+OK\r\n".len();
        for length in 0..whole {
            assert_eq!(parse(&MESSAGE[..length]).expect("RESP so far"), None, "{length}");
        }
    }

    #[test]
    fn rubbish_is_named() {
        for rubbish in [&b"HTTP/1.1 400\r\n"[..], b"\r\n", b":x\r\n", b"$2\r\nabcd\r\n", b"*99999999\r\n", b"$-2\r\n"] {
            assert!(parse(rubbish).is_err(), "{}", String::from_utf8_lossy(rubbish));
        }
        assert!(parse(&b"*1\r\n".repeat(DEPTH_MAX + 1)).is_err());
    }
}
