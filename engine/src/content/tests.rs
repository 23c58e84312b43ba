//! Tests of [`super`].

use proptest::prelude::*;

use super::*;
use crate::{
    fixture::{NOON, at, compiled, decide, device, message, shopper, spec, verdicts, world},
    shopper::{Attribute, Loyalty},
};

fn campaign(on: &str, title: &str, body: &str) -> String {
    let content = serde_json::json!({"en": {"title": title, "body": body}});
    let purpose = if on.contains("transition") { "offer" } else { "order" };
    format!(r#"{{"id":"c","purpose":"{purpose}","on":{on},"content":{content}}}"#)
}

fn wrong(on: &str, body: &str) -> String {
    let compiled = crate::campaign::Campaign::compile(spec(&campaign(on, "Hello", body)));
    compiled.expect_err("unsound").into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("\n")
}

const ENTER: &str = r#"{"transition":"enter"}"#;
const SHIPPED: &str = r#"{"order":"shipped"}"#;

#[test]
fn names_outside_the_list_are_refused() {
    assert!(wrong(ENTER, "{{ shopper.name }}").contains("not known"));
    assert!(wrong(ENTER, "{{ shopper }}").contains("not known"), "whole groups are not values");
    assert!(wrong(ENTER, "{{ order.id }}").contains("not available for this trigger"));
    assert!(wrong(SHIPPED, "{{ region.id }}").contains("not available for this trigger"));
    assert!(wrong(ENTER, "{{ shopper['attributes'] }}").contains("not known"));
    assert!(wrong(ENTER, "{% if false %}{{ nonsense }}{% endif %}").contains("not known"), "unreached branches count");
}

#[test]
fn what_may_be_missing_needs_a_replacement() {
    let message = wrong(ENTER, "Hello {{ shopper.attributes.first_name }}");
    assert!(message.contains("default"), "{message}");
    for right in [
        "Hello {{ shopper.attributes.first_name | default('you') }}",
        "Hello{% if shopper.attributes.first_name %} {{ shopper.attributes.first_name }}{% endif %}",
        "{% if loyalty.tier is defined %}{{ loyalty.tier | upper }}{% else %}{{ loyalty.points }}{% endif %}",
    ] {
        compiled(&campaign(ENTER, "Hello", right));
    }
    assert!(wrong(SHIPPED, "{{ order.lines[0] }}").contains("undefined"), "an order may have no lines");
    assert!(wrong(ENTER, "{{ (shopper.attributes.n | default(0)) + 1 }}").contains("invalid operation"), "texts");
}

#[test]
fn endless_and_broken_texts_are_refused() {
    assert!(!wrong(ENTER, "{{ 'a' ").is_empty());
    assert!(!wrong(ENTER, "{% for a in range(100000) %}x{% endfor %}").is_empty());
    assert!(!wrong(ENTER, "{{ 'x' | shell }}").is_empty());
    assert!(wrong(ENTER, &"x".repeat(BODY_MAX + 1)).contains("at most"));
    assert!(wrong(ENTER, "  ").contains("must not be empty"));
}

#[test]
fn no_text_takes_the_stack_or_the_memory() {
    for nested in ["not ", "-", "1+", "a[", "[", "{", "'a'~", "1 if 1 else "] {
        let deep = format!("{{{{ {}1 }}}}", nested.repeat(3_990 / nested.len()));
        let _ = crate::campaign::Campaign::compile(spec(&campaign(ENTER, &deep, "b")));
    }
    assert!(wrong(ENTER, &format!("{{{{ {}1 }}}}", "not ".repeat(8_000))).contains("at most 4000"));
    assert!(wrong(ENTER, "{{ 'a' * 99999999 }}").contains("multiplies"));
    assert!(wrong(ENTER, "{% set a = 'a' %}{% set a = a ~ a %}{{ a | length }}").contains("no statement"));
}

#[test]
fn links_keep_their_scheme_and_are_encoded() {
    for link in ["http://shop.example", "javascript:x", "{{ device.id }}", "shop", "HTTPS://x"] {
        assert!(link_scheme(link).is_err(), "{link}");
    }
    assert!(link_scheme("https://shop.example/{{ store.id }}").is_ok());
    assert!(link_scheme("com.example.shop://tv").is_ok());
    assert_eq!(link("https://a.example/é b"), Ok("https://a.example/%C3%A9%20b".to_owned()));
}

#[test]
fn the_shoppers_language_is_found_by_lookup() {
    let world = world(vec![compiled(
        r#"{"id":"c","purpose":"offer","on":{"transition":"enter"},"default_locale":"de","content":{
            "de":{"title":"a","body":"b"},"fr":{"title":"a","body":"b"},"fr-CA":{"title":"a","body":"b"},
            "zh-Hant":{"title":"a","body":"b"}}}"#,
    )]);
    let chosen = |of_device: Option<&str>, of_shopper: Option<&str>| {
        let mut shopper = shopper("C-1");
        let changed = std::sync::Arc::make_mut(&mut shopper);
        changed.profile.locale = of_shopper.map(Into::into);
        let mut phone = device("t", NOON);
        phone.locale = of_device.map(Into::into);
        changed.devices.insert("phone".parse().expect("an id"), phone);
        message(&decide(&world, &mut shopper, at(NOON))).content().expect("words").locale.clone()
    };
    assert_eq!(chosen(Some("fr-CA"), Some("de")), "fr-CA");
    assert_eq!(chosen(Some("fr-fr"), Some("de")), "fr");
    assert_eq!(chosen(Some("zh-Hant-TW"), None), "zh-Hant");
    assert_eq!(chosen(Some("it"), Some("fr")), "fr", "the shopper's, if the device's is missing");
    assert_eq!(chosen(None, None), "de");
    assert_eq!(chosen(Some("ja"), Some("zh-Hans")), "de");
}

#[test]
fn long_values_are_cut_at_a_character() {
    assert_eq!(shortened("hello", 5), "hello");
    let cut = shortened(&"é".repeat(200), 21);
    assert!(cut.len() <= 21 && cut.ends_with('…'), "{cut}");
}

#[test]
fn data_that_does_not_fit_is_refused_by_name() {
    let names = (0..4).map(|at| format!(r#""k{at}":"{{{{ shopper.attributes.a | default('') }}}}""#));
    let data = names.collect::<Vec<_>>().join(",");
    let world = world(vec![compiled(&format!(
        r#"{{"id":"c","purpose":"offer","on":{ENTER},"content":{{"en":{{"title":"a","body":"b","data":{{{data}}}}}}}}}"#
    ))]);
    let with = |text: &str| {
        let mut shopper = shopper("C-1");
        let attributes = &mut std::sync::Arc::make_mut(&mut shopper).profile.attributes;
        attributes.insert("a".to_owned(), Attribute::Text(text.to_owned()));
        let decisions = decide(&world, &mut shopper, at(NOON));
        (verdicts(&decisions)["c"], shopper.sends.len())
    };
    assert_eq!(with("short"), ("send", 1));
    assert_eq!(with(&"x".repeat(200)), ("unrenderable", 0));
}

#[test]
fn numbers_read_as_people_write_them() {
    assert_eq!(facts::attribute(&Attribute::Number(3.0)).to_string(), "3");
    assert_eq!(facts::attribute(&Attribute::Number(2.5)).to_string(), "2.5");
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        any::<bool>().prop_map(Attribute::Flag),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Attribute::Number),
        ".{0,80}".prop_map(Attribute::Text),
    ]
}

/// Pieces of texts: some sound, some not, so that whole texts are refused about as often as taken.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "plain ",
        "{{ store.name }}",
        "{{ store.phone | default('none') }}",
        "{{ shopper.attributes.a | default('x') }}",
        "{{ shopper.attributes.a }}",
        "{% if shopper.attributes.b %}{{ shopper.attributes.b | upper }}{% endif %}",
        "{{ shopper.attributes.b | default('x') | trim | lower }}",
        "{{ loyalty.points + 1 }}",
        "{{ loyalty.tier | default(device.platform) }}",
        "{% if loyalty.points > 10 %}rich{% else %}{{ transition }}{% endif %}",
        "{{ shopper.attributes.a | default(1) + 1 }}",
        "{{ store.attributes.floor | default(0) }}",
        "{% for one in shopper.attributes.a %}{{ one }}{% endfor %}",
        "{{ shopper.attributes.a | default('') | length }}",
        "{{ region.id | urlencode }}",
    ])
}

proptest! {
    #[test]
    fn a_text_that_was_taken_never_fails(
        pieces in prop::collection::vec(piece(), 1..5),
        a in prop::option::of(attribute()),
        b in prop::option::of(attribute()),
        loyalty in prop::option::of((prop::option::of(".{1,10}"), any::<i64>())),
    ) {
        let json = campaign(ENTER, "Hello", &format!("{} {{# body #}}!", pieces.concat()));
        let Ok(campaign) = crate::campaign::Campaign::compile(spec(&json)) else { return Ok(()) };
        let world = world(vec![std::sync::Arc::new(campaign)]);
        let mut shopper = shopper("C-1");
        let profile = &mut std::sync::Arc::make_mut(&mut shopper).profile;
        profile.attributes.extend(a.map(|a| ("a".to_owned(), a)));
        profile.attributes.extend(b.map(|b| ("b".to_owned(), b)));
        profile.loyalty = loyalty.map(|(tier, points)| Box::new(Loyalty { tier, points }));
        let message = message(&decide(&world, &mut shopper, at(NOON)));
        let content = message.content().expect("words");
        prop_assert!(!content.body.is_empty() && content.body.len() <= BODY_MAX);
    }
}
