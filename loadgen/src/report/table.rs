//! The report for people: progress while it runs, and a table at the end.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write},
};

use super::{Parameters, Report, Stretch, Waits};
use crate::measure::Second;

const MIB: f64 = 1024.0 * 1024.0;

/// Shows a line of progress on standard error: in place on a terminal, else one after the other.
pub(crate) fn progress(what: &str, second: &Second) {
    let Second { at_s, per_s, p99_ms, backlog, .. } = second;
    let line = format!("{what}: {at_s:>4.0} s  {per_s:>9.0} pings/s  p99 {p99_ms:>8.2} ms  backlog {backlog}");
    let mut out = io::stderr().lock();
    // Whoever closed standard error does not want to see it.
    let _ = if out.is_terminal() { write!(out, "\r\x1b[2K{line}") } else { writeln!(out, "{line}") };
    let _ = out.flush();
}

/// Ends what [`progress`] shows in place.
pub(crate) fn end_progress() {
    let mut out = io::stderr().lock();
    if out.is_terminal() {
        let _ = writeln!(out);
    }
}

/// Everything in words.
pub(crate) fn text(report: &Report) -> String {
    let mut text = head(report);
    for stretch in &report.stretches {
        let _ = write!(text, "\n{}", rows(stretch));
    }
    text
}

fn head(report: &Report) -> String {
    let Parameters { name, about, seed, fences, phones, campaigns, format, batch, connections, .. } = &report.scenario;
    let mut text = format!(
        "{name}: {about}\n{fences} fences, {phones} phones, {campaigns} campaigns, seed {seed}; {format}, {batch} a \
         request, {connections} connections{}{}\n",
        if report.scenario.http2 { ", HTTP/2" } else { "" },
        if report.scenario.keep_alive { "" } else { ", a connection for each request" },
    );
    let machine = &report.machine;
    let model = machine.model.as_deref().unwrap_or("unknown processor");
    let _ = writeln!(text, "{} x {model}, shared by server and generator; {}", machine.processors, machine.system);
    let server = &report.server;
    if let Some(start_ms) = server.start_ms {
        let _ = writeln!(text, "start {start_ms:.0} ms{}", registered(server.registered, server.registration_s));
    }
    if let (Some(set), Some(refused)) = (server.fences_set, server.fences_refused) {
        let _ = writeln!(text, "{set} fences set, {refused} refused");
    }
    text
}

fn registered(phones: Option<usize>, seconds: Option<f64>) -> String {
    match (phones, seconds) {
        (Some(phones), Some(seconds)) => format!("; {phones} phones registered in {seconds:.1} s"),
        (Some(phones), None) => format!("; {phones} phones registered before"),
        (None, _) => String::new(),
    }
}

fn rows(stretch: &Stretch) -> String {
    let mut text = format!("{} for {:.1} s\n", stretch.load, stretch.seconds);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<24} {value}");
    };
    row("pings", counts(stretch));
    row("rate", format!("{:.0} pings/s, {:.0} requests/s", stretch.pings_per_s, stretch.requests_per_s));
    row("ping to answer", waits(&stretch.answer));
    row("due to sent", waits(&stretch.late));
    if let (Some(arrival), Some(arrivals)) = (&stretch.arrival, stretch.arrivals) {
        row("ping to accepted", waits(arrival));
        let waiting = stretch.waiting.filter(|waiting| *waiting > 0.0);
        let waiting = waiting.map(|waiting| format!("; {waiting:.0} still wait")).unwrap_or_default();
        row("accepted", format!("{arrivals}{waiting}"));
    }
    if let Some(transitions) = stretch.transitions {
        let share = transitions / stretch.accepted.max(1) as f64;
        row("transitions", format!("{transitions:.0}, {share:.2} a ping"));
    }
    match &stretch.usage {
        Some(used) => {
            let written =
                used.written_bytes_per_ping.map_or("unknown".to_owned(), |bytes| format!("{bytes:.0} B/ping"));
            row(
                "server's processor",
                format!("{:.2} us/ping, {:.2} processors", used.processor_us_per_ping, used.processors),
            );
            row(
                "server's memory",
                format!(
                    "peak {:.0} MiB, at the end {:.0} MiB",
                    used.peak_bytes as f64 / MIB,
                    used.resident_bytes as f64 / MIB
                ),
            );
            row("written to storage", written);
        }
        None => row("server's processor", "unknown: no process of this Linux machine was named".to_owned()),
    }
    if let (Some(us), Some(processors)) = (stretch.own_processor_us_per_ping, stretch.own_processors) {
        row("generator's processor", format!("{us:.2} us/ping, {processors:.2} processors"));
    }
    if stretch.unsent > 0 {
        let why = "due and never sent: the server takes less than this rate, and the waits above leave them out";
        row("NOT SENT", format!("{} pings {why}", stretch.unsent));
    }
    for (failure, count) in &stretch.failures {
        row(&format!("{count} x"), failure.clone());
    }
    text
}

fn counts(stretch: &Stretch) -> String {
    let mut text = format!("{} sent, {} accepted", stretch.sent, stretch.accepted);
    let others = [
        (stretch.rejected, "not believed"),
        (stretch.refused, "sent back for good"),
        (stretch.failed, "failed"),
        (stretch.refusals, "answers 429 or 503"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {count} {what}");
    }
    text
}

fn waits(waits: &Waits) -> String {
    if waits.count == 0 {
        return "none".to_owned();
    }
    format!(
        "p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2} ms",
        waits.p50_ms, waits.p90_ms, waits.p99_ms, waits.p999_ms, waits.max_ms
    )
}
