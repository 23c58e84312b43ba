//! What a peer says when it closes a connection (GOAWAY). It reads; what follows is the connection's business.

use serde::Deserialize;

/// Longer words are not words; with its prefix one fits into a reason of the journal.
const WORD_BYTES_MAX: usize = 56;

/// The peer's word for a goodbye: Apple's `{"reason":...}`, else the name of the protocol's code.
///
/// None if the error is no goodbye of the peer.
pub(super) fn word(error: &h2::Error) -> Option<String> {
    if !error.is_go_away() || !error.is_remote() {
        return None;
    }
    let said = debug_data(&error.to_string()).and_then(|data| {
        let apple: Option<Farewell> = serde_json::from_slice(&data).ok();
        apple.map(|farewell| farewell.reason).or_else(|| String::from_utf8(data).ok())
    });
    said.filter(|said| is_word(said)).or_else(|| error.reason().map(|code| format!("{code:?}")))
}

#[derive(Deserialize)]
struct Farewell {
    reason: String,
}

fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !text.is_empty() && text.len() <= WORD_BYTES_MAX && text.bytes().all(fits)
}

/// h2 shows the debug data of a goodbye only in the text of its error: as a literal `(b"...")` at the end.
fn debug_data(text: &str) -> Option<Vec<u8>> {
    let literal = text.strip_suffix("\")")?;
    let (_, literal) = literal.split_once("(b\"")?;
    let mut data = Vec::with_capacity(literal.len());
    let mut bytes = literal.bytes();
    while let Some(byte) = bytes.next() {
        let plain = if byte != b'\\' {
            byte
        } else {
            match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'0' => 0,
                b'x' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                escaped => escaped,
            }
        };
        data.push(plain);
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_literal_of_any_bytes_reads_back() {
        let every: Vec<u8> = (0..=255).collect();
        for data in [&b"{\"reason\":\"Shutdown\"}"[..], b"", b"a\\b\"c\n", b"(b\"x\")", &every] {
            let text =
                format!("connection error received: not a result of an error ({:?})", Bytes::copy_from_slice(data));
            assert_eq!(debug_data(&text).as_deref(), Some(data), "{text}");
        }
        assert_eq!(debug_data("connection error received: not a result of an error"), None);
    }

    #[test]
    fn words_are_short_and_plain() {
        for word in ["Shutdown", "ENHANCE_YOUR_CALM", "too_many-pings.1"] {
            assert!(is_word(word));
        }
        for other in ["", "two words", "<html>", &"x".repeat(57)] {
            assert!(!is_word(other), "{other}");
        }
    }
}
