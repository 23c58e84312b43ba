//! Cuts a stream of bytes into lines with bounded memory.

use bytes::{Bytes, BytesMut};

/// One line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// As it stands.
    Text(Bytes),
    /// Longer than a line may be; its content is gone.
    TooLong,
}

/// Cuts lines. Never holds more than one line and the last piece that was pushed.
#[derive(Debug)]
pub struct Lines {
    buffer: BytesMut,
    searched: usize,
    line_max_bytes: usize,
    skipping: bool,
}

impl Lines {
    /// Lines of at most so many bytes.
    pub fn new(line_max_bytes: usize) -> Lines {
        Lines { buffer: BytesMut::new(), searched: 0, line_max_bytes, skipping: false }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next complete line.
    pub fn next_line(&mut self) -> Option<Line> {
        let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            if self.buffer.len() > self.line_max_bytes {
                self.skipping = true;
                self.buffer.clear();
                self.searched = 0;
            }
            return None;
        };
        let line = self.buffer.split_to(self.searched + at + 1).freeze();
        self.searched = 0;
        Some(self.judge(line.slice(..line.len() - 1)))
    }

    /// What stands behind the last line end.
    pub fn last_line(mut self) -> Option<Line> {
        let rest = self.buffer.split().freeze();
        let nothing = rest.is_empty() && !self.skipping;
        (!nothing).then(|| self.judge(rest))
    }

    fn judge(&mut self, line: Bytes) -> Line {
        let too_long = std::mem::take(&mut self.skipping) || line.len() > self.line_max_bytes;
        if too_long { Line::TooLong } else { Line::Text(line) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &[u8], piece_bytes: usize, line_max_bytes: usize) -> Vec<Line> {
        let mut lines = Lines::new(line_max_bytes);
        let mut all = Vec::new();
        for piece in text.chunks(piece_bytes) {
            lines.push(piece);
            all.extend(std::iter::from_fn(|| lines.next_line()));
        }
        all.extend(lines.last_line());
        all
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_whole() {
        let text = [b"ab\n".as_slice(), &[b'x'; 1_000], b"\ncd"].concat();
        let expected = [Line::Text("ab".into()), Line::TooLong, Line::Text("cd".into())];
        for piece_bytes in [1, 2, 7, 2_000] {
            assert_eq!(cut(&text, piece_bytes, 10), expected);
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[a\n]{0,60}", piece_bytes in 1_usize..9) {
            prop_assert_eq!(cut(text.as_bytes(), piece_bytes, 4), cut(text.as_bytes(), 1_000, 4));
        }
    }
}
