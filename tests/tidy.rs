//! The house rules that no lint can hold, checked over the text of the repository.
//!
//! A rule is a function from a tree of files to its violations, and stands in [`RULES`] beside a small tree that
//! breaks it and one that does not, so that a rule that can no longer fire is noticed. Rules are never weakened for a
//! file: the file is split, or the limit is changed for everybody.

use std::{collections::BTreeSet, path::Path, process::Command};

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/tree.rs"]
mod tree;

use tree::Tree;

/// Fifty lines.
macro_rules! fifty {
    () => {
        "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"
    };
}

const LONG: &str = concat!(fifty!(), fifty!(), fifty!(), fifty!());
const VERY_LONG: &str =
    concat!(fifty!(), fifty!(), fifty!(), fifty!(), fifty!(), fifty!(), fifty!(), fifty!(), fifty!());
const LONG_TESTS: &str = concat!(
    "fn f() {}\n#[cfg(test)]\nmod tests {\n",
    fifty!(),
    fifty!(),
    fifty!(),
    fifty!(),
    fifty!(),
    fifty!(),
    fifty!(),
    fifty!(),
    "}\n"
);

const GATES: (&str, &str) = (
    "engine/src/gates.rs",
    "pub enum Suppression {\n    /// X.\n    NoConsent,\n    #[serde(rename = \"c\")]\n    Cap {\n        Seen: u32,\n    },\n}\n\
     pub fn consent() {}\nfn cap() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn asks() {}\n}\n",
);
const GOOD_RULES: &str = "| sentence | refusal | function | test |\n|---|---|---|---|\n\
    | \"no consent\" | `NoConsent` | `gates::consent` | `gates::tests::asks` |\n\
    | \"at most 3\" | `cap` | `gates::cap` | `gates::tests::asks` |\n";
const GONE_FUNCTION: &str = "| `NoConsent` | `gates::consent` | `gates::tests::asks` |\n\
    | `Cap` | `gates::cap` | `gates::tests::asks` |\n| more | `gates::gone` |\n";
const WRONG_MODULE: &str = "| `NoConsent` | `elsewhere::consent` | `gates::tests::asks` |\n\
    | `Cap` | `gates::cap` | `gates::tests::asks` |\n";
const DECISION: &str = "# X\n\n## Context\n\n## Decision\n\n## Consequences\n";

struct Rule {
    name: &'static str,
    check: fn(&Tree) -> Vec<String>,
    bad: &'static [&'static [(&'static str, &'static str)]],
    good: &'static [(&'static str, &'static str)],
}

const RULES: &[Rule] = &[
    Rule {
        name: "files are short",
        check: rules::short_files,
        bad: &[&[("src/pipeline.rs", LONG)], &[("engine/src/decide.rs", LONG)], &[("src/shard.rs", VERY_LONG)]],
        good: &[("src/shard.rs", LONG), ("src/lane.rs", LONG_TESTS), ("tests/x.rs", VERY_LONG)],
    },
    Rule {
        name: "select! is biased",
        check: rules::biased_select,
        bad: &[
            &[("src/a.rs", "async fn f() { tokio::select! { _ = x => {} } }")],
            &[("src/a.rs", "select! {\n    // biased;\n    _ = x => {}\n}")],
        ],
        good: &[("src/a.rs", "tokio::select! {\n    // Shutdown first.\n    biased;\n    _ = x => {}\n} // select! {")],
    },
    Rule {
        name: "no test is ignored",
        check: rules::no_ignored_tests,
        bad: &[
            &[("tests/a.rs", "#[test]\n#[ignore]\nfn f() {}")],
            &[("src/a.rs", "#[ignore = \"slow\"]\nfn f() {}")],
            &[("src/a.rs", "#[cfg_attr(unix, ignore)]\nfn f() {}")],
        ],
        good: &[("src/a.rs", "// #[ignore]\n#[test]\nfn ignore() {}")],
    },
    Rule {
        name: "nothing is left unfinished",
        check: rules::nothing_unfinished,
        bad: &[
            &[("src/a.rs", "fn f() { todo!() }")],
            &[("src/a.rs", "fn f() { unimplemented!(\"x\") }")],
            &[("src/a.rs", "fn f() { std::dbg!(1); }")],
            &[("README.md", concat!("TO", "DO: write"))],
            &[("src/a.rs", concat!("// FIX", "ME later"))],
            &[("src/a.rs", concat!("<<<<", "<<< HEAD\n"))],
        ],
        good: &[("src/a.rs", "fn f() { \"todo!()\"; my_todo!(); }")],
    },
    Rule {
        name: "no emoji",
        check: rules::no_emoji,
        bad: &[&[("README.md", "done \u{1f680}")], &[("src/a.rs", "// \u{2705}")]],
        good: &[("README.md", "caf\u{e9} \u{2192} \u{b5}s")],
    },
    Rule {
        name: "no machine paths and no registry hosts",
        check: rules::no_machine_traces,
        bad: &[
            &[("src/a.rs", concat!("// see /wo", "rk/shared"))],
            &[("README.md", concat!("cd /ho", "me/me/parvis"))],
            &[(".cargo/config.toml", concat!("[sou", "rce.crates-io]"))],
            &[("scripts/x", concat!("https://arti", "factory.example/"))],
        ],
        good: &[("README.md", "https://example.com/work/x and ~/parvis")],
    },
    Rule {
        name: "every suppression has a rule, a function and a test",
        check: rules::suppressions_are_documented,
        bad: &[
            &[GATES],
            &[GATES, ("docs/rules.md", "| \"no consent\" | `NoConsent` | `gates::consent` | `gates::tests::asks` |")],
            &[
                GATES,
                (
                    "docs/rules.md",
                    "| `NoConsent` | `gates::consent` |\n| `Cap` | `gates::cap` | `gates::tests::asks` |",
                ),
            ],
            &[GATES, ("docs/rules.md", GONE_FUNCTION)],
            &[GATES, ("docs/rules.md", WRONG_MODULE)],
        ],
        good: &[GATES, ("docs/rules.md", GOOD_RULES)],
    },
    Rule {
        name: "modules say what they are for",
        check: rules::module_docs,
        bad: &[&[("src/a.rs", "use std::fs;")], &[("engine/src/a.rs", "// not a doc comment\n")]],
        good: &[("src/a.rs", "//! Says it.\n"), ("tests/x.rs", "//! Says it.\n")],
    },
    Rule {
        name: "modules have names of their own",
        check: rules::module_names,
        bad: &[&[("src/util.rs", "")], &[("tests/common/mod.rs", "")], &[("engine/src/helpers.rs", "")]],
        good: &[("src/clock.rs", ""), ("docs/context.md", "")],
    },
    Rule {
        name: "the engine is pure",
        check: rules::pure_engine,
        bad: &[
            &[("engine/src/a.rs", "use std::collections::HashMap;")],
            &[("engine/src/a.rs", "use std::{collections::{BTreeMap, HashSet}};")],
            &[("engine/src/a.rs", "use std::{fmt, fs};")],
            &[("engine/src/a.rs", "use std::{\n    net::IpAddr,\n};")],
            &[("engine/src/a.rs", "fn f() { std::fs::read(\"x\"); }")],
            &[("engine/src/a.rs", "fn f() { tokio::join!(); }")],
            &[("engine/src/a.rs", "fn f() -> std::time::SystemTime { x }")],
            &[("engine/src/a.rs", "use std::time::Instant;")],
            &[("engine/Cargo.toml", "[package]\nname = \"e\"\n[lints]\n[dependencies]\nrand = \"0.9\"\n")],
        ],
        good: &[
            ("engine/src/a.rs", "//! No HashMap, no std::fs.\nuse std::{collections::BTreeMap, fmt, time::Duration};"),
            ("engine/Cargo.toml", "[dependencies]\nrobust = \"1.2\"\n[dev-dependencies]\nrand = \"0.9\"\n"),
            ("src/a.rs", "use std::{fs, collections::HashMap};"),
        ],
    },
    Rule {
        name: "links lead somewhere",
        check: rules::links,
        bad: &[
            &[("README.md", "see [the map](ARCHITECTURE.md)")],
            &[("docs/a.md", "[up](../b.md)"), ("docs/b.md", "")],
            &[("a.md", "[part](b.md#there)"), ("b.md", "# Here\n")],
            &[("a.md", "[part](#nowhere)\n# Here\n")],
        ],
        good: &[
            (
                "a.md",
                "[b](docs/b.md#over-there-1) [x](https://example.com) [d](docs) [h](#here)\n# Here\n`[code](none)`\n",
            ),
            ("docs/b.md", "## Over there (1)\n[up](../a.md)\n```\n[code](none)\n```\n"),
        ],
    },
    Rule {
        name: "the changelog has a place for what is new",
        check: rules::changelog,
        bad: &[&[("CHANGELOG.md", "# Changelog\n## 0.1.0\n")], &[]],
        good: &[("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n")],
    },
    Rule {
        name: "every bench stands in its manifest",
        check: rules::benches_are_declared,
        bad: &[
            &[("Cargo.toml", "[package]\nname = \"p\"\n"), ("benches/matching.rs", "")],
            &[("engine/Cargo.toml", "[[bench]]\nname = \"matching\"\n"), ("engine/benches/matching.rs", "")],
        ],
        good: &[
            ("engine/Cargo.toml", "[[bench]]\nname = \"matching\"\nharness = false\n"),
            ("engine/benches/matching.rs", ""),
        ],
    },
    Rule {
        name: "exceptions from lints give a reason",
        check: rules::reasons,
        bad: &[
            &[("src/a.rs", "#[allow(dead_code)]\nfn f() {}")],
            &[("src/a.rs", "#![allow(\n    clippy::x,\n)]")],
            &[("src/a.rs", "#[cfg_attr(unix, allow(dead_code))]\nfn f() {}")],
            &[("src/a.rs", "#[expect(dead_code)]\nfn f() {}")],
        ],
        good: &[("src/a.rs", "#[allow(dead_code, reason = \"why [1]\")]\nfn f() { x.allow(y); z.expect(\"w\") }")],
    },
    Rule {
        name: "only the seams know time and chance",
        check: rules::seams,
        bad: &[&[("src/lane.rs", "#[allow(clippy::disallowed_methods, reason = \"handy\")]\nfn f() {}")]],
        good: &[
            ("src/clock.rs", "#![allow(clippy::disallowed_methods, reason = \"the seam\")]"),
            ("tests/a.rs", "#![allow(clippy::disallowed_methods, reason = \"waits for what it spawns\")]"),
        ],
    },
    Rule {
        name: "nobody but the clock reads the time or sleeps",
        check: rules::real_time,
        bad: &[
            &[("tests/a.rs", "fn f() { std::thread::sleep(x) }")],
            &[("src/a.rs", "async fn f() { tokio::time::sleep(x).await }")],
            &[("engine/src/a.rs", "#[cfg(test)]\nmod tests {\n    fn f() { let began = Instant::now(); }\n}")],
        ],
        good: &[
            ("src/clock.rs", "fn f() { SystemTime::now() }"),
            ("benches/a.rs", "fn f() { Instant::now() }"),
            ("engine/benches/a.rs", "fn f() { Instant::now() }"),
            ("src/a.rs", "fn f() { clock.sleep(x); clock.now() }"),
        ],
    },
    Rule {
        name: "every crate is under the workspace's lints",
        check: rules::lint_tables,
        bad: &[
            &[("engine/Cargo.toml", "[package]\nname = \"e\"\n")],
            &[("engine/clippy.toml", "disallowed-methods = []\n")],
        ],
        good: &[
            ("engine/Cargo.toml", "[package]\nname = \"e\"\n[lints]\nworkspace = true\n"),
            ("engine/clippy.toml", "too-many-lines-threshold = 60\ntoo-many-arguments-threshold = 5\n"),
        ],
    },
    Rule {
        name: "decisions have context, decision and consequences",
        check: rules::decisions,
        bad: &[
            &[("docs/decisions/0001-x.md", "# X\n## Context\n## Decision\n")],
            &[("docs/decisions/0001-x.md", DECISION), ("docs/decisions/0001-y.md", DECISION)],
            &[("docs/decisions/x.md", DECISION)],
        ],
        good: &[("docs/decisions/0001-x.md", DECISION), ("docs/decisions/0002-y.md", DECISION)],
    },
    Rule {
        name: "scripts are plain sh and stop at the first failure",
        check: rules::plain_scripts,
        bad: &[&[("scripts/a", "#!/bin/bash\nset -eu\n")], &[(".ci/run", "#!/bin/sh\necho\n")]],
        good: &[("scripts/a", "#!/bin/sh\n# Why.\nset -eu\n")],
    },
];

#[test]
fn the_repository_is_tidy() {
    let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.files.len() > 20, "the tree was read");
    let violations: Vec<String> = RULES
        .iter()
        .flat_map(|rule| (rule.check)(&tree).into_iter().map(|violation| format!("{}: {violation}", rule.name)))
        .collect();
    assert!(violations.is_empty(), "{} violations\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn every_rule_fires_on_what_breaks_it_and_on_nothing_else() {
    for rule in RULES {
        assert!(!rule.bad.is_empty(), "{}: no sample", rule.name);
        for sample in rule.bad {
            assert!(!(rule.check)(&Tree::of(sample)).is_empty(), "{}: does not fire on {sample:?}", rule.name);
        }
        let violations = (rule.check)(&Tree::of(rule.good));
        assert!(violations.is_empty(), "{}: fires on its good sample: {violations:?}", rule.name);
    }
}

#[test]
fn the_bench_script_lists_every_bench() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("sh").arg(root.join("scripts/bench")).arg("--list").output().expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: BTreeSet<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let tree = Tree::read(root);
    let declared = tree.manifests().flat_map(|manifest| {
        let package = manifest.values("[package]", "name").into_iter().next().unwrap_or_default();
        manifest.values("[[bench]]", "name").into_iter().map(move |bench| format!("{package}:{bench}"))
    });
    assert_eq!(listed, declared.collect::<BTreeSet<String>>());
}
