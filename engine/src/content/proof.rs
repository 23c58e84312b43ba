//! Tries a text with every combination of what may be missing, before its campaign is taken.

use std::collections::BTreeSet;

use minijinja::{Template, Value};

use super::facts::{Given, Scope, given, nested};

/// The most combinations that are tried; six attributes in one text.
const COMBINATIONS_MAX: usize = 4_096;

pub(super) struct Proved {
    /// Every name that the text uses.
    pub(super) used: BTreeSet<String>,
    /// Whether it cannot do without a store.
    pub(super) needs_store: bool,
}

/// Shows that a text can be rendered whatever is missing.
pub(super) fn prove(template: &Template<'_, '_>, scope: Scope, bytes_max: usize) -> Result<Proved, Vec<String>> {
    let used: BTreeSet<String> = template.undeclared_variables(true).into_iter().collect();
    let mut messages = Vec::new();
    let mut kinds: Vec<(&str, Given, Vec<Option<Value>>)> = Vec::new();
    for name in &used {
        match given(name, scope) {
            Ok(given) => kinds.push((name, given, samples(name, given))),
            Err(message) => messages.push(message),
        }
    }
    let combinations = kinds.iter().try_fold(1_usize, |product, (_, _, samples)| product.checked_mul(samples.len()));
    if combinations.is_none_or(|combinations| combinations > COMBINATIONS_MAX) {
        messages.push("names too many things that may be missing; use fewer in one text".to_owned());
    }
    if !messages.is_empty() {
        return Err(messages);
    }
    let mut shortest = usize::MAX;
    for combination in 0..combinations.unwrap_or(0) {
        let (values, lacking) = pick(&kinds, combination, true);
        match template.render(values) {
            Ok(text) => shortest = shortest.min(text.trim().len()),
            Err(error) => return Err(vec![explained(&error, &lacking)]),
        }
    }
    if shortest > bytes_max {
        return Err(vec![format!("is at least {shortest} bytes long, at most {bytes_max} fit")]);
    }
    let with_store = kinds.iter().any(|(_, given, _)| *given == Given::WithStore);
    let needs_store =
        with_store && (0..combinations.unwrap_or(0)).any(|at| template.render(pick(&kinds, at, false).0).is_err());
    Ok(Proved { used, needs_store })
}

/// What went wrong with a text, in a sentence.
pub(super) fn sentence(error: &minijinja::Error) -> String {
    match (error.detail(), error.line()) {
        (Some(detail), Some(line)) if line > 1 => format!("{}: {detail} (line {line})", error.kind()),
        (Some(detail), _) => format!("{}: {detail}", error.kind()),
        (None, _) => error.kind().to_string(),
    }
}

fn samples(name: &str, given: Given) -> Vec<Option<Value>> {
    match (name, given) {
        ("order.lines", _) => vec![Some(Value::from(vec!["Lamp"])), Some(Value::from(Vec::<&str>::new()))],
        ("loyalty.points" | "order.line_count", _) => vec![Some(Value::from(1)), Some(Value::from(0))],
        (_, Given::Always | Given::WithStore) => vec![Some(Value::from("a"))],
        (_, Given::Sometimes) if name.contains(".attributes.") => {
            vec![Some(Value::from("a")), None, Some(Value::from(true)), Some(Value::from(7))]
        }
        (_, Given::Sometimes) => vec![Some(Value::from("a")), None],
    }
}

fn pick<'n>(
    kinds: &[(&'n str, Given, Vec<Option<Value>>)],
    combination: usize,
    with_store: bool,
) -> (Value, Vec<&'n str>) {
    let mut rest = combination;
    let mut lacking = Vec::new();
    let mut values = Vec::with_capacity(kinds.len());
    for (name, given, samples) in kinds {
        let value = samples.get(rest % samples.len()).cloned().flatten();
        rest /= samples.len();
        let value = if *given == Given::WithStore && !with_store { None } else { value };
        if value.is_none() {
            lacking.push(*name);
        }
        values.push((*name, value));
    }
    (nested(values.into_iter()), lacking)
}

fn explained(error: &minijinja::Error, lacking: &[&str]) -> String {
    if lacking.is_empty() {
        return sentence(error);
    }
    format!(
        "fails without {}: say what stands there otherwise, such as {{{{ {} | default(\"...\") }}}} ({})",
        lacking.join(", "),
        lacking[0],
        error.kind()
    )
}
