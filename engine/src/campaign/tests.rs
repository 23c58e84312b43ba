//! Tests of [`super`].

use super::*;
use crate::fixture::{NOON, at, compiled, enters, fence, offer, shopper, spec, verdicts, world};

fn problems(json: &str) -> Vec<(String, String)> {
    let problems = Campaign::compile(spec(json)).expect_err("unsound");
    problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

#[test]
fn every_problem_is_named_at_once() {
    let found = problems(
        r#"{"id":"c","purpose":"order","on":{"transition":"enter"},"ttl":"1s","holdout_percent":101,
            "active":{"from":"2026-11-22T00:00:00Z","until":"2026-11-21T00:00:00Z"},
            "caps":[{"count":0,"per":"day"}],"audience":{"all":[]},"deep_link":"javascript:alert(1)",
            "content":{"fr":{"title":"","body":"{{ shopper.name }}"},"de":{"title":"a","body":"b"}}}"#,
    );
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/purpose",
            "/active/until",
            "/ttl",
            "/caps/0/count",
            "/holdout_percent",
            "/caps",
            "/holdout_percent",
            "/audience/all",
            "/default_locale",
            "/content/fr/title",
            "/content/fr/body",
            "/deep_link",
        ]
    );
}

#[test]
fn a_trigger_is_exactly_one_thing() {
    let on = |on: &str| {
        let json = format!(r#"{{"id":"c","purpose":"order","on":{on},"content":{{"en":{{"title":"a","body":"b"}}}}}}"#);
        Campaign::compile(spec(&json)).map_or_else(|problems| problems[0].path.clone(), |_| String::new())
    };
    assert_eq!(on(r#"{"order":"shipped"}"#), "");
    assert_eq!(on(r#"{"order":["shipped","delayed"],"stores":["paris-1"]}"#), "");
    assert_eq!(on(r#"{"pickup":"approach"}"#), "");
    assert_eq!(on("{}"), "/on");
    assert_eq!(on(r#"{"order":"shipped","pickup":"enter"}"#), "/on");
    assert_eq!(on(r#"{"order":"shipped","tags":["tv"]}"#), "/on");
    assert_eq!(on(r#"{"pickup":"dwell"}"#), "/on/pickup");
}

#[test]
fn what_is_written_reads_back() {
    let json = r#"{"id":"c","name":"TV week","purpose":"offer","on":{"transition":"enter","tags":["tv"]},
        "active":{"until":"2026-12-01T00:00:00Z"},
        "schedule":{"store_hours":true,"slots":[{"days":["mon","sat"],"from":"09:00","to":"19:00"}]},
        "audience":{"any":[{"order":"shipped"},{"interest":{"name":"tv","at_least":0.5}}]},
        "quiet_hours":"off","caps":[{"count":1,"per":"day"},{"count":2,"per":"7d"}],"cooldown":"24h",
        "holdout_percent":10,"budget":{"total":5},"priority":3,"ttl":"30min","collapse":"store",
        "deep_link":"https://shop.example/tv","content":{"en":{"title":"a","body":"b","data":{"k":"v"}}}}"#;
    let written = compiled(json).spec.clone();
    let text = serde_json::to_string(&written).expect("serialises");
    assert_eq!(spec(&text), written);
}

#[test]
fn typing_errors_are_not_taken() {
    for wrong in [r#""cooldwn":"7d""#, r#""quiet_hours":"of""#, r#""quiet_hours":{"from":"21:00","until":"08:00"}"#] {
        let json = format!(
            r#"{{"id":"c","purpose":"offer","on":{{"transition":"enter"}},{wrong},
                "content":{{"en":{{"title":"a","body":"b"}}}}}}"#
        );
        assert!(serde_json::from_str::<Spec>(&json).is_err(), "{wrong}");
    }
}

#[test]
fn lists_narrow_and_each_campaign_is_found_once() {
    let on = |id: &str, on: &str| {
        compiled(&format!(
            r#"{{"id":"{id}","purpose":"offer","on":{{"transition":"enter"{on}}},
                "content":{{"en":{{"title":"a","body":"b"}}}}}}"#
        ))
    };
    let index = Campaigns::new(vec![
        on("anywhere", ""),
        on("two-tags", r#","tags":["tv","radio"]"#),
        on("tag-and-store", r#","tags":["tv"],"stores":["paris-1"]"#),
        on("tag-elsewhere", r#","tags":["tv"],"stores":["lyon-1"]"#),
        on("region", r#","regions":["rivoli"]"#),
        on("other-tag", r#","tags":["books"]"#),
    ]);
    let rivoli = fence("rivoli", Some("paris-1"), &["tv", "radio"]);
    let found = index.on_transition(&enters("rivoli", at(NOON)), Some(&rivoli.region));
    let ids: Vec<&str> = found.iter().map(|campaign| campaign.spec.id.as_str()).collect();
    assert_eq!(ids, ["anywhere", "region", "tag-and-store", "two-tags"]);
    let unknown = index.on_transition(&enters("gone", at(NOON)), None);
    assert_eq!(unknown.len(), 1, "a region that is not in the catalog has no tags");
}

#[test]
fn priority_ranks_and_ids_break_ties() {
    let index = Campaigns::new(vec![offer("b", ""), offer("c", r#","priority":5"#), offer("a", "")]);
    let ids: Vec<&str> = index.iter().map(|campaign| campaign.spec.id.as_str()).collect();
    assert_eq!(ids, ["c", "a", "b"]);
    assert!(index.get(&"b".parse().expect("an id")).is_some());
}

#[test]
fn collapse_keys_fit_every_service() {
    let world = world(vec![offer("c", "")]);
    let decisions = crate::fixture::decide(&world, &mut shopper("C-1"), at(NOON));
    assert_eq!(verdicts(&decisions)["c"], "send");
    let key = crate::fixture::message(&decisions).collapse;
    assert!(!key.is_empty() && key.len() <= 32, "{key}");
    assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{key}");
}
