//! Pings as requests to the daemon, and what its answers mean for them.

use std::time::Duration;

use http::{Method, uri::PathAndQuery};
use parvis_loadgen::{
    city::{City, Ping},
    wire::Format,
};

use super::{Answer, Call, Endpoint, Link};
use crate::{
    drive::{Carrier, Reply},
    measure::Verdict,
};

/// What an answer to observations begins with.
const ACCEPTED: &[u8] = br#"{"accepted":"#;
/// So much of an answer that nobody expected is shown.
const SHOWN_CHARS: usize = 160;
/// A server that sends a request back without a time is asked again after this one.
const WAIT_DEFAULT_S: u64 = 1;

/// One worker's connection and the form in which it reports.
pub(crate) struct Poster<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) link: Link,
    pub(crate) format: Format,
}

/// A request and how many pings it holds.
pub(crate) struct Packed {
    call: Call,
    pings: u64,
}

impl Carrier for Poster<'_> {
    type Packed = Packed;

    fn pack(&mut self, city: &City, pings: &[Ping]) -> Packed {
        let request = self.format.request(city, pings);
        let call = Call {
            method: Method::POST,
            // Paths are made of numbers and constants.
            path: PathAndQuery::try_from(request.path).unwrap_or_else(|_| PathAndQuery::from_static("/")),
            content_type: request.content_type,
            body: request.body.into(),
        };
        Packed { call, pings: pings.len() as u64 }
    }

    async fn send(&mut self, packed: &Packed) -> Reply {
        match self.link.send(self.endpoint, packed.call.clone()).await {
            Ok(answer) => meaning(&answer, packed.pings, self.format),
            Err(error) => Reply::Broken(format!("{error:#}")),
        }
    }
}

/// What an answer means for so many pings.
fn meaning(answer: &Answer, pings: u64, format: Format) -> Reply {
    match answer.status {
        200..=299 => Reply::Settled(settled(answer, pings, format)),
        429 | 503 => {
            let wait = Duration::from_secs(answer.retry_after_s.unwrap_or(WAIT_DEFAULT_S));
            Reply::Later { wait, why: shown(answer) }
        }
        _ => Reply::Settled(Verdict { failed: pings, why: Some(shown(answer)), ..Verdict::default() }),
    }
}

/// The formats of others know only "done"; the daemon's own say how many were accepted.
fn settled(answer: &Answer, pings: u64, format: Format) -> Verdict {
    let told = accepted(&answer.body).filter(|accepted| *accepted <= pings);
    match (told, format) {
        (Some(accepted), _) => {
            let rejected = pings - accepted;
            let why = (rejected > 0).then(|| format!("rejected, the first as {}", reason(&answer.body)));
            Verdict { accepted, rejected, failed: 0, why }
        }
        (None, Format::OwnTracks | Format::Overland) => Verdict { accepted: pings, ..Verdict::default() },
        (None, Format::Ndjson | Format::Json | Format::Sightings) => {
            Verdict { failed: pings, why: Some(shown(answer)), ..Verdict::default() }
        }
    }
}

fn accepted(body: &[u8]) -> Option<u64> {
    let digits = body.strip_prefix(ACCEPTED)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// Why the first one was rejected.
fn reason(body: &[u8]) -> &str {
    const REASON: &str = "\"reason\":\"";
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.split_once(REASON).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown")
}

fn shown(answer: &Answer) -> String {
    let body: String = String::from_utf8_lossy(&answer.body).chars().take(SHOWN_CHARS).collect();
    format!("{}: {}", answer.status, body.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer { status, retry_after_s: None, body: body.into() }
    }

    #[test]
    fn the_daemon_says_how_many_it_took() {
        let rejected =
            r#"{"accepted":97,"rejected":[{"index":4,"reason":"inaccurate","detail":"x"}],"transitions":[]}"#;
        let verdict = settled(&answer(200, rejected), 100, Format::Ndjson);
        let why = Some("rejected, the first as inaccurate".to_owned());
        assert_eq!(verdict, Verdict { accepted: 97, rejected: 3, failed: 0, why });
        let verdict = settled(&answer(200, r#"{"accepted":2,"rejected":[]}"#), 2, Format::Json);
        assert_eq!(verdict, Verdict { accepted: 2, ..Verdict::default() });
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_a_failure_that_is_shown() {
        for body in [r#"{"accepted":101,"rejected":[]}"#, r#"{"accepted":"#, "hello", ""] {
            let verdict = settled(&answer(200, body), 100, Format::Ndjson);
            assert_eq!((verdict.failed, verdict.accepted), (100, 0), "{body}");
            assert_eq!(verdict.why.expect("shown"), format!("200: {body}"));
        }
        assert_eq!(settled(&answer(200, "[]"), 1, Format::OwnTracks).accepted, 1);
    }

    #[test]
    fn what_is_sent_back_is_due_still() {
        let Reply::Later { wait, .. } = meaning(&Answer { retry_after_s: Some(7), ..answer(429, "") }, 1, Format::Json)
        else {
            panic!("sent back")
        };
        assert_eq!(wait, Duration::from_secs(7));
        let Reply::Settled(verdict) = meaning(&answer(422, "no"), 3, Format::Json) else { panic!("settled") };
        assert_eq!((verdict.failed, verdict.why.as_deref()), (3, Some("422: no")));
    }
}
