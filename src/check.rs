//! `parvis check`: reads everything that people write and tells all that is wrong with it. Starts nothing.

use std::io::{self, Write};

use crate::{
    catalog::{Kind, files},
    config::{self, Source},
    document::{self, Finding, Place},
};

/// Writes every problem on a line of its own, or what was found if there is none. Answers whether all is well; what
/// is only odd is told, too, and is well.
///
/// # Errors
/// If `out` can't be written to.
pub fn run(source: &Source, out: &mut impl Write) -> io::Result<bool> {
    let (config, mut findings) = config::read(source);
    let files::Read { objects, findings: more, notes, .. } = files::read(&config.catalog, &source.folder());
    findings.extend(more);
    for remark in config.delivery.remarks(&source.folder()) {
        let remark = remark.under("/delivery");
        let subject = document::dotted(&remark.path);
        writeln!(out, "{}", Finding { place: Place::file(&source.file()), subject, message: remark.message })?;
    }
    for note in &notes {
        writeln!(out, "{note}")?;
    }
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    if !findings.is_empty() {
        writeln!(out, "{}", count(findings.len(), "problem"))?;
        return Ok(false);
    }
    let found: Vec<String> =
        Kind::ALL.into_iter().map(|kind| count(objects.of(kind).len(), &kind.to_string())).collect();
    writeln!(out, "{}: no problems", found.join(", "))?;
    Ok(true)
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
