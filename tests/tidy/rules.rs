//! The rules: from the tree to what breaks them.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Source, Tree, words};

const PRODUCTION_LINES_MAX: usize = 400;
/// Pages that must be readable in one go.
const SHORTER_PAGES: [(&str, usize); 3] =
    [("src/pipeline.rs", 110), ("engine/src/decide.rs", 150), ("engine/src/decide/mod.rs", 150)];
const FORBIDDEN_MODULES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "manager", "context"];
/// The only files that may be excepted from clippy's `disallowed_*` lints.
const SEAMS: [&str; 5] =
    ["src/clock.rs", "src/entropy.rs", "scanner/src/clock.rs", "scanner/src/entropy.rs", "loadgen/src/clock.rs"];
/// The only files that read the time and wait for it.
const CLOCKS: [&str; 3] = ["src/clock.rs", "scanner/src/clock.rs", "loadgen/src/clock.rs"];

pub(crate) fn short_files(tree: &Tree) -> Vec<String> {
    let limit = |path: &str| {
        SHORTER_PAGES.iter().find(|(page, _)| *page == path).map_or(PRODUCTION_LINES_MAX, |(_, lines_max)| *lines_max)
    };
    tree.rust()
        .map(|file| (file, file.production_lines(), limit(&file.path)))
        .filter(|(_, lines, lines_max)| lines > lines_max)
        .map(|(file, lines, lines_max)| format!("{}: {lines} lines, at most {lines_max}", file.path))
        .collect()
}

pub(crate) fn biased_select(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for file in tree.rust() {
        for at in words(&file.code, "select!") {
            let body = file.code[at + "select!".len()..].trim_start().trim_start_matches(['{', '(', '[']).trim_start();
            if !body.starts_with("biased;") {
                violations.push(file.at(at, "begins without `biased;`"));
            }
        }
    }
    violations
}

pub(crate) fn no_ignored_tests(tree: &Tree) -> Vec<String> {
    tree.rust()
        .flat_map(|file| {
            let ignored = file.attributes().into_iter().filter(|(_, attribute)| words(attribute, "ignore").count() > 0);
            ignored.map(|(at, _)| file.at(at, "an ignored test")).collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn nothing_unfinished(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for file in &tree.files {
        for mark in ["todo!", "unimplemented!", "dbg!"] {
            violations.extend(words(&file.code, mark).map(|at| file.at(at, mark)));
        }
        for mark in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")] {
            violations.extend(words(&file.text, mark).map(|at| file.at(at, mark)));
        }
        if file.text.lines().any(|line| line.starts_with(concat!("<<<<", "<<< "))) {
            violations.push(format!("{}: a merge conflict", file.path));
        }
    }
    violations
}

pub(crate) fn no_emoji(tree: &Tree) -> Vec<String> {
    let emoji = |c: char| matches!(u32::from(c), 0x1_f000..=0x1_faff | 0x2600..=0x27bf | 0x2b50 | 0x2b55 | 0x231a | 0x231b | 0x23e9..=0x23fa | 0xfe0f);
    tree.files
        .iter()
        .filter_map(|file| file.text.find(emoji).map(|at| file.at(at, "an emoji; write \\u{...} where data need one")))
        .collect()
}

pub(crate) fn no_machine_traces(tree: &Tree) -> Vec<String> {
    let paths = [
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/tm", "p/"),
        concat!("/Us", "ers/"),
    ];
    let hosts = [
        concat!("arti", "factory"),
        concat!("index.cra", "tes.io"),
        concat!("static.cra", "tes.io"),
        concat!("registry.n", "pmjs.org"),
        concat!("[sou", "rce."),
    ];
    let mut violations = Vec::new();
    for file in &tree.files {
        for path in paths {
            // Behind a letter it is a part of a longer path or of a URL.
            let alone = file.text.match_indices(path).filter(|(at, _)| {
                !file.text[..*at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '}' | '~' | '_' | '-'))
            });
            violations.extend(alone.map(|(at, _)| file.at(at, path)));
        }
        for host in hosts {
            violations.extend(file.text.match_indices(host).map(|(at, _)| file.at(at, host)));
        }
    }
    violations
}

/// Function name to the files that define it.
type Functions = BTreeMap<String, BTreeSet<String>>;

/// Everything that is a function, and everything that is a test.
fn functions(tree: &Tree) -> (Functions, Functions) {
    let (mut plain, mut tests) = (Functions::new(), Functions::new());
    for file in tree.rust() {
        let mut is_test = false;
        for line in file.code.lines().map(str::trim) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if let Some(at) = words(line, "fn").next() {
                let rest = line[at + "fn".len()..].trim_start();
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let kind = if is_test { &mut tests } else { &mut plain };
                kind.entry(name).or_default().insert(file.path.clone());
                is_test = false;
            }
        }
    }
    (plain, tests)
}

/// The variants of an enum, by the first word of each line at its own depth.
fn variants(code: &str, name: &str) -> Vec<String> {
    let Some(start) = code.find(&format!("enum {name} {{")) else { return Vec::new() };
    let mut depth = 0;
    let mut found = Vec::new();
    for line in code[start..].lines().skip(1).map(str::trim) {
        if depth == 0 && line.starts_with('}') {
            break;
        }
        if depth == 0 && line.starts_with(|c: char| c.is_ascii_uppercase()) {
            found.push(line.chars().take_while(|c| c.is_alphanumeric()).collect());
        }
        depth += line.matches(['{', '(', '[']).count();
        depth -= line.matches(['}', ')', ']']).count();
    }
    found
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

pub(crate) fn suppressions_are_documented(tree: &Tree) -> Vec<String> {
    let (plain, tests) = functions(tree);
    let variants: Vec<String> = tree.engine().flat_map(|file| variants(&file.code, "Suppression")).collect();
    let Some(page) = tree.get("docs/rules.md") else {
        return if variants.is_empty() { Vec::new() } else { vec!["docs/rules.md is missing".to_owned()] };
    };
    let rows: Vec<Vec<&str>> = page
        .text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.split('`').skip(1).step_by(2).collect())
        .collect();
    let mut violations = Vec::new();
    for token in rows.iter().flatten().filter(|token| token.contains("::")) {
        if !resolves(token, &plain) && !resolves(token, &tests) {
            violations.push(format!("docs/rules.md: there is no `{token}`"));
        }
    }
    for variant in variants {
        let names = [variant.clone(), snake_case(&variant), format!("Suppression::{variant}")];
        let row = rows.iter().find(|row| row.iter().any(|token| names.iter().any(|name| name == token)));
        match row {
            None => violations.push(format!("docs/rules.md: no row for `{variant}`")),
            Some(row) if !row.iter().any(|token| token.contains("::") && resolves(token, &plain)) => {
                violations.push(format!("docs/rules.md: the row of `{variant}` names no function"));
            }
            Some(row) if !row.iter().any(|token| resolves(token, &tests)) => {
                violations.push(format!("docs/rules.md: the row of `{variant}` names no test"));
            }
            Some(_) => {}
        }
    }
    violations
}

/// Whether a path such as `gates::tests::holds` names a function in a file or folder of that module.
fn resolves(token: &str, functions: &Functions) -> bool {
    let token = token.trim_end_matches("()");
    // A variant is no function, but may be named by its path.
    if token.starts_with("Suppression::") {
        return true;
    }
    let mut segments: Vec<&str> = token.split("::").filter(|segment| *segment != "tests").collect();
    let Some(files) = segments.pop().and_then(|name| functions.get(name)) else { return false };
    segments.last().is_none_or(|module| {
        files.iter().any(|file| file.trim_end_matches(".rs").split('/').any(|part| part == *module))
    })
}

pub(crate) fn module_docs(tree: &Tree) -> Vec<String> {
    tree.rust()
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| format!("{}: does not begin with `//!`", file.path))
        .collect()
}

pub(crate) fn module_names(tree: &Tree) -> Vec<String> {
    tree.rust()
        .filter(|file| file.path.trim_end_matches(".rs").split('/').any(|part| FORBIDDEN_MODULES.contains(&part)))
        .map(|file| format!("{}: names no idea", file.path))
        .collect()
}

pub(crate) fn pure_engine(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for file in tree.engine() {
        for name in
            ["tokio", "HashMap", "HashSet", "SystemTime", "Instant", "std::net", "std::fs", "std::env", "std::thread"]
        {
            violations.extend(words(&file.code, name).map(|at| file.at(at, name)));
        }
        for (at, _) in file.code.match_indices("use std::{") {
            let group = file.code[at..].split(';').next().unwrap_or_default();
            for name in ["net", "fs", "env", "thread"] {
                violations.extend(words(group, name).map(|within| file.at(at + within, name)));
            }
        }
    }
    if let Some(manifest) = tree.get("engine/Cargo.toml") {
        for name in ["tokio", "rand", "getrandom", "reqwest", "hyper", "parvis"] {
            if !manifest.values("[dependencies]", name).is_empty() {
                violations.push(format!("engine/Cargo.toml: depends on {name}"));
            }
        }
    }
    violations
}

pub(crate) fn links(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        for target in link_targets(&file.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { Some(file.path.clone()) } else { resolve(&file.path, path) };
            let leads = path.is_some_and(|path| match tree.get(&path) {
                Some(page) => anchor.is_empty() || !path.ends_with(".md") || anchors(&page.text).contains(anchor),
                None => tree.folders.contains(&path) || path == "Cargo.lock",
            });
            if !leads {
                violations.push(format!("{}: {target} leads nowhere", file.path));
            }
        }
    }
    violations
}

fn link_targets(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut targets = Vec::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let prose = line.split('`').step_by(2);
        for piece in prose.filter(|_| !fenced) {
            targets.extend(piece.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()));
        }
    }
    targets
}

/// A path relative to a file, from the root of the tree; none if it leads out of it.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The names by which a page's headings can be linked, as the usual forges form them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.to_lowercase().replace(' ', "-");
            kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}

pub(crate) fn changelog(tree: &Tree) -> Vec<String> {
    let open = tree.get("CHANGELOG.md").is_some_and(|page| page.text.lines().any(|line| line == "## [Unreleased]"));
    if open { Vec::new() } else { vec!["CHANGELOG.md: no section [Unreleased]".to_owned()] }
}

pub(crate) fn benches_are_declared(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for file in tree.rust() {
        let Some((package, name)) = file.path.trim_end_matches(".rs").rsplit_once("benches/") else { continue };
        if name.contains('/') || package.contains("src/") {
            continue;
        }
        let manifest = tree.get(&format!("{package}Cargo.toml"));
        let declared = manifest.is_some_and(|manifest| {
            let benches = manifest.values("[[bench]]", "name");
            let own_harness = manifest.values("[[bench]]", "harness").iter().filter(|value| *value == "false").count();
            benches.iter().any(|bench| bench == name) && own_harness == benches.len()
        });
        if !declared {
            violations.push(format!("{}: no [[bench]] with `harness = false` in {package}Cargo.toml", file.path));
        }
    }
    violations
}

fn exceptions(file: &Source) -> impl Iterator<Item = (usize, &str)> {
    file.attributes().into_iter().filter(|(_, attribute)| {
        attribute.starts_with("expect(") || words(attribute, "allow").any(|at| attribute[at..].starts_with("allow("))
    })
}

pub(crate) fn reasons(tree: &Tree) -> Vec<String> {
    tree.rust()
        .flat_map(|file| {
            exceptions(file)
                .filter(|(_, attribute)| words(attribute, "reason").count() == 0)
                .map(|(at, _)| file.at(at, "an exception without a reason"))
                .collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn seams(tree: &Tree) -> Vec<String> {
    tree.rust()
        .filter(|file| !SEAMS.contains(&file.path.as_str()) && !file.is_test())
        .flat_map(|file| {
            exceptions(file)
                .filter(|(_, attribute)| attribute.contains("disallowed_"))
                .map(|(at, _)| file.at(at, "an exception outside clock.rs and entropy.rs"))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Holds for tests too, which may have exceptions from the lints for what they spawn; only benches measure real time.
pub(crate) fn real_time(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    let is_free = |path: &str| CLOCKS.contains(&path) || path.split('/').any(|folder| folder == "benches");
    for file in tree.rust().filter(|file| !is_free(&file.path)) {
        for name in
            ["SystemTime::now", "Instant::now", "thread::sleep", "time::sleep", "time::sleep_until", "time::interval"]
        {
            violations.extend(words(&file.code, name).map(|at| file.at(at, name)));
        }
    }
    violations
}

pub(crate) fn lint_tables(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for manifest in tree.manifests().filter(|manifest| !manifest.path.starts_with("fuzz/")) {
        if manifest.text.contains("[package]") && manifest.values("[lints]", "workspace") != ["true"] {
            violations.push(format!("{}: no `lints.workspace = true`", manifest.path));
        }
    }
    for file in tree.files.iter().filter(|file| file.path.ends_with("clippy.toml")) {
        for line in ["too-many-lines-threshold = 60", "too-many-arguments-threshold = 5"] {
            if !file.text.lines().any(|have| have == line) {
                violations.push(format!("{}: no `{line}`", file.path));
            }
        }
    }
    violations
}

pub(crate) fn decisions(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    let mut numbers = BTreeSet::new();
    for page in &tree.files {
        let Some(name) = page.path.strip_prefix("docs/decisions/") else { continue };
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || number.parse::<u32>().is_err() || !numbers.insert(number.to_owned()) {
            violations.push(format!("{}: does not begin with a number of its own", page.path));
        }
        for heading in ["## Context", "## Decision", "## Consequences"] {
            if !page.text.lines().any(|line| line == heading) {
                violations.push(format!("{}: no `{heading}`", page.path));
            }
        }
    }
    violations
}

pub(crate) fn plain_scripts(tree: &Tree) -> Vec<String> {
    tree.files
        .iter()
        .filter(|file| file.path.starts_with("scripts/") || file.path.starts_with(".ci/"))
        .filter(|file| !file.text.starts_with("#!/bin/sh\n") || !file.text.lines().any(|line| line == "set -eu"))
        .map(|file| format!("{}: not `#!/bin/sh` with `set -eu`", file.path))
        .collect()
}
