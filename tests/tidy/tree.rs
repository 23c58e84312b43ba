//! The repository as text, and as much understanding of Rust, TOML and names as the rules need.

use std::{collections::BTreeSet, fs, path::Path};

/// One text file.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and the insides of literals blanked; for Rust only.
    pub(crate) code: String,
}

pub(crate) struct Tree {
    pub(crate) files: Vec<Source>,
    pub(crate) folders: BTreeSet<String>,
}

impl Tree {
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree { files: Vec::new(), folders: BTreeSet::new() };
        for (path, text) in files {
            tree.add((*path).to_owned(), (*text).to_owned());
        }
        tree
    }

    pub(crate) fn read(root: &Path) -> Tree {
        let mut tree = Tree { files: Vec::new(), folders: BTreeSet::new() };
        tree.descend(root, "");
        tree
    }

    fn descend(&mut self, folder: &Path, prefix: &str) {
        let mut entries: Vec<_> = fs::read_dir(folder).expect("a folder is readable").flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && ![".ci", ".cargo", ".config"].contains(&name.as_str());
            if hidden || name == "target" || name == "Cargo.lock" {
                continue;
            }
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if entry.path().is_dir() {
                self.descend(&entry.path(), &path);
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                self.add(path, text);
            }
        }
    }

    fn add(&mut self, path: String, text: String) {
        let folders = path.match_indices('/').map(|(end, _)| path[..end].to_owned());
        self.folders.extend(folders);
        let code = if path.ends_with(".rs") { code_only(&text) } else { String::new() };
        self.files.push(Source { path, text, code });
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    pub(crate) fn engine(&self) -> impl Iterator<Item = &Source> {
        self.rust().filter(|file| file.path.starts_with("engine/src/"))
    }

    pub(crate) fn manifests(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(|file| file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml"))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Source> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl Source {
    pub(crate) fn is_test(&self) -> bool {
        let path = format!("/{}", self.path);
        path.contains("/tests/") || path.contains("/benches/") || path.ends_with("/tests.rs")
    }

    /// Lines before `mod tests` and its attribute.
    pub(crate) fn production_lines(&self) -> usize {
        let lines: Vec<&str> = self.code.lines().collect();
        let tests = lines.iter().position(|line| line.starts_with("mod tests"));
        let end = tests.map_or(lines.len(), |at| at - usize::from(at > 0 && lines[at - 1].starts_with("#[")));
        if self.is_test() { 0 } else { end }
    }

    pub(crate) fn at(&self, offset: usize, what: &str) -> String {
        let line = self.text.get(..offset).map_or(0, |before| before.matches('\n').count()) + 1;
        format!("{}:{line}: {what}", self.path)
    }

    /// Every attribute of the code, without its brackets, and where it begins.
    pub(crate) fn attributes(&self) -> Vec<(usize, &str)> {
        let starts = ["#[", "#!["].iter().flat_map(|start| self.code.match_indices(start).map(|(at, s)| at + s.len()));
        starts
            .filter_map(|start| {
                let mut depth = 1;
                let end = self.code[start..].find(|c| {
                    depth += i32::from(c == '[') - i32::from(c == ']');
                    depth == 0
                })?;
                Some((start, &self.code[start..start + end]))
            })
            .collect()
    }

    /// The string values of a key within all TOML tables of one name.
    pub(crate) fn values(&self, table: &str, key: &str) -> Vec<String> {
        let mut inside = false;
        let mut found = Vec::new();
        for line in self.text.lines() {
            if line.starts_with('[') {
                inside = line.trim_end() == table;
            } else if let Some((name, value)) = line.split_once('=')
                && inside
                && name.trim() == key
            {
                found.push(value.trim().trim_matches('"').to_owned());
            }
        }
        found
    }
}

/// The byte offsets at which `word` stands alone.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !part_of_name(text[..at].chars().next_back()) && !part_of_name(text[at + word.len()..].chars().next())
    })
}

/// Blanks comments and the insides of literals; every byte keeps its place.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + opaque(&bytes[at..], code.last().copied());
        if end == at {
            code.push(if bytes[at].is_ascii() { bytes[at] } else { b'_' });
            at += 1;
        } else {
            code.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8(code).expect("only ASCII was kept")
}

/// The length of the comment or literal that begins here, 0 if none does.
fn opaque(rest: &[u8], before: Option<u8>) -> usize {
    let until = |needle: &[u8], from: usize| {
        rest[from.min(rest.len())..]
            .windows(needle.len())
            .position(|window| window == needle)
            .map_or(rest.len(), |at| from + at + needle.len())
    };
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'#', ..] if before == Some(b'r') => {
            let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
            let closing: Vec<u8> = [b"\"".as_slice(), &rest[..hashes]].concat();
            if rest.get(hashes) == Some(&b'"') { until(&closing, hashes + 1) } else { 0 }
        }
        // A lifetime has no closing quote right behind its first letter.
        [b'\'', b'\\', ..] | [b'\'', _, b'\'', ..] => quoted(rest, b'\''),
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        if rest[at] == b'\\' {
            at += 2;
        } else if rest[at] == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_comments_and_strings() {
        let text = "a('\"'); // b\n/* c /* d */ e */ f::<'g>(\"h \\\" i\", r#\"j \" k\"#, b'\\'');";
        let code = code_only(text);
        assert_eq!(code.lines().count(), 2);
        let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        assert_eq!(words, ["a", "f", "g", "r", "b"]);
    }
}
