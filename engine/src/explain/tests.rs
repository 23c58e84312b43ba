//! Tests of [`super`].

use super::*;
use crate::{decide, fixture::*};

fn explained(world: &World, shopper: &Shopper, id: &str, region: &str) -> Explanation {
    let (campaign, transition) = (id.parse().expect("an id"), enters(region, at(NOON)));
    let question = Question { campaign: &campaign, transition: &transition, budgets: &Budgets::new(), now: at(NOON) };
    super::campaign(world, shopper, &question).expect("a campaign")
}

fn saw<'a>(explanation: &'a Explanation, gate: &str) -> (&'static str, &'a str) {
    let found = explanation.gates.iter().find(|answer| answer.gate == gate).expect("a gate");
    (found.answer, &found.saw)
}

#[test]
fn all_gates_answer_with_their_numbers() {
    let more = r#","caps":[{"count":1,"per":"24h"}],"cooldown":"7d","audience":{"segment":"staff"}"#;
    let world = world(vec![offer("c", more)]);
    let mut shopper = shopper("C-1");
    std::sync::Arc::make_mut(&mut shopper).profile.segments.insert("staff".to_owned());
    decide(&world, &mut shopper, at(NOON));
    let explanation = explained(&world, &shopper, "c", "rivoli");
    assert_eq!(explanation.gates.len(), GATES.len());
    assert_eq!(saw(&explanation, "consent"), ("pass", "yes to offers"));
    assert_eq!(saw(&explanation, "frequency_cap"), ("suppress", "campaign: 1 of 1 per 24h"));
    assert_eq!(saw(&explanation, "cooldown").0, "suppress", "gates behind the first refusal answer as well");
    assert_eq!(saw(&explanation, "audience"), ("pass", "in segment \"staff\""));
    let Verdict::Suppress { why } = &explanation.verdict else { panic!("{explanation:?}") };
    assert_eq!(why.name(), "frequency_cap", "the first refusal counts");
    let text = serde_json::to_string(&explanation).expect("serialises");
    assert_eq!(text, serde_json::to_string(&explained(&world, &shopper, "c", "rivoli")).expect("serialises"));
    assert!(text.contains(r#""reason":"frequency_cap""#), "{text}");
}

#[test]
fn explaining_agrees_with_deciding() {
    let world = world(vec![
        offer("a", r#","priority":2,"audience":{"segment":"staff"}"#),
        offer("b", r#","priority":1"#),
        offer("c", ""),
    ]);
    let shopper = shopper("C-1");
    let decided = verdicts(&decide(&world, &mut shopper.clone(), at(NOON)));
    for (id, verdict) in decided {
        let explained = match explained(&world, &shopper, &id, "rivoli").verdict {
            Verdict::Send { .. } => "send",
            Verdict::Suppress { why } => why.name(),
            Verdict::NotTriggered => "not triggered",
        };
        assert_eq!(explained, verdict, "{id}");
    }
}

#[test]
fn what_does_not_trigger_is_said() {
    let world = world(vec![offer("c", ""), news("n", r#""shipped""#)]);
    let mut shopper = shopper("C-1");
    assert_eq!(explained(&world, &shopper, "c", "elsewhere").verdict, Verdict::NotTriggered);
    assert_eq!(explained(&world, &shopper, "n", "rivoli").verdict, Verdict::NotTriggered, "no such order");
    let id = "O-1".parse().expect("an id");
    decide::order(&world, &mut shopper, &id, &event("E", NOON, "shipped"), at(NOON));
    let explanation = explained(&world, &shopper, "n", "rivoli");
    let why = decide::Suppression::AlreadyTold { state: crate::order::OrderState::Shipped, at: at(NOON) };
    assert_eq!((explanation.triggered, explanation.verdict), (true, Verdict::Suppress { why }));
}

#[test]
fn news_say_whether_they_go_with_what_the_phone_shows() {
    let mut shopper = shopper("C-1");
    let id = "O-1".parse().expect("an id");
    decide::order(&world(Vec::new()), &mut shopper, &id, &event("E", NOON, "shipped"), at(NOON));
    let told = world(vec![news("n", r#""shipped""#)]);
    let verdict = |shopper: &Shopper| explained(&told, shopper, "n", "rivoli").verdict;
    assert_eq!(verdict(&shopper), Verdict::Send { not_before: at(NOON), live: None });
    let device = std::sync::Arc::make_mut(&mut shopper).devices.get_mut("phone").expect("a phone");
    device.live = Some(Box::new(crate::shopper::Following { progress: true, ..Default::default() }));
    assert_eq!(verdict(&shopper), Verdict::Send { not_before: at(NOON), live: Some(LiveEvent::Start) });
}
