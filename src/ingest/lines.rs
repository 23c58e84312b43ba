//! Cuts a stream of bytes into lines with bounded memory.

/// One line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'b> {
    /// As it stands.
    Text(&'b [u8]),
    /// Longer than a line may be; its content is gone.
    TooLong,
}

/// Cuts lines. Never holds more than one line and the last piece that was pushed.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Where the next line begins.
    begin: usize,
    /// Up to where no line ends.
    searched: usize,
    line_max_bytes: usize,
    skipping: bool,
}

impl Lines {
    /// Lines of at most so many bytes.
    pub fn new(line_max_bytes: usize) -> Lines {
        Lines { buffer: Vec::new(), begin: 0, searched: 0, line_max_bytes, skipping: false }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.drain(..self.begin);
        self.searched -= self.begin;
        self.begin = 0;
        self.buffer.extend_from_slice(piece);
    }

    /// The next complete line.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            if self.buffer.len() - self.begin > self.line_max_bytes {
                self.skipping = true;
                self.begin = self.buffer.len();
            }
            return None;
        };
        let line = self.begin..self.searched + at;
        (self.begin, self.searched) = (line.end + 1, line.end + 1);
        Some(self.judge(line))
    }

    /// What stands behind the last line end.
    pub fn last_line(&mut self) -> Option<Line<'_>> {
        let rest = self.begin..self.buffer.len();
        let nothing = rest.is_empty() && !self.skipping;
        (!nothing).then(|| self.judge(rest))
    }

    fn judge(&mut self, line: std::ops::Range<usize>) -> Line<'_> {
        let too_long = std::mem::take(&mut self.skipping) || line.len() > self.line_max_bytes;
        if too_long { Line::TooLong } else { Line::Text(&self.buffer[line]) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines; none for one that is too long.
    fn cut(text: &[u8], piece_bytes: usize, line_max_bytes: usize) -> Vec<Option<Vec<u8>>> {
        let held = |line: Line<'_>| match line {
            Line::Text(text) => Some(text.to_vec()),
            Line::TooLong => None,
        };
        let mut lines = Lines::new(line_max_bytes);
        let mut all = Vec::new();
        for piece in text.chunks(piece_bytes) {
            lines.push(piece);
            assert!(lines.buffer.len() <= line_max_bytes + piece.len(), "one line and one piece");
            while let Some(line) = lines.next_line() {
                all.push(held(line));
            }
        }
        all.extend(lines.last_line().map(held));
        all
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_whole() {
        let text = [b"ab\n".as_slice(), &[b'x'; 1_000], b"\ncd"].concat();
        let expected = [Some(b"ab".to_vec()), None, Some(b"cd".to_vec())];
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
