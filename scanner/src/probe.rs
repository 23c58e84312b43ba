//! A look at the radios of this host: what is there, how it scans, and how much it hears.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    agent,
    clock::Clock,
    config::{Scan, Source},
    radio::{Outlet, watchdog::Patience},
    status::Status,
};

/// Advertisements are only counted; nobody has to be quick.
const ADVERTISEMENTS_MAX: usize = 1_024;

/// Scans for a while and says what it found, line by line.
///
/// # Errors
/// If there is no radio to look at.
pub async fn run(scan: Scan, span: Duration, clock: Clock) -> Result<String, String> {
    let mut text = String::new();
    let mut line = |told: String| {
        text.push_str(&told);
        text.push('\n');
    };
    if scan.source == Source::Bluez {
        #[cfg(target_os = "linux")]
        for found in crate::radio::bluez::Bluez::adapters(clock, scan.call_timeout).await? {
            let powered = if found.powered { "on" } else { "off" };
            line(format!("adapter {} is {}, powered {powered}; BlueZ {}", found.address, found.name, found.daemon));
        }
    }
    let status = Status::default();
    let (outlet, mut advertisements) = Outlet::new(ADVERTISEMENTS_MAX, status.clone());
    let shutdown = CancellationToken::new();
    let patience =
        Patience { exit_after: span.saturating_mul(2).max(Patience::default().exit_after), ..Patience::default() };
    let listening = agent::listen(scan, patience, (outlet, status.clone()), clock, shutdown.clone());
    let (mut count, mut without_rssi) = (0_u64, 0_u64);
    let (began, end) = (clock.now(), clock.now().plus(span));
    let counting = async {
        loop {
            tokio::select! {
                biased;
                () = clock.sleep_until(Some(end)) => break,
                Some(advertisement) = advertisements.recv() => {
                    count += 1;
                    without_rssi += u64::from(advertisement.rssi_dbm.is_none());
                }
            }
        }
        let health = status.health(span, clock.now());
        shutdown.cancel();
        health
    };
    let (health, heard) = tokio::join!(counting, listening);
    heard.map_err(|fault| fault.to_string())?;
    for adapter in &health.adapters {
        let monitor = if adapter.mode == "monitor" { "registered" } else { "not offered" };
        line(format!(
            "adapter {} scans as {:?}, advertisement monitor {monitor}, {:.1} advertisements/s, restarted {} times",
            adapter.address, adapter.mode, adapter.rate_hz, adapter.restarts
        ));
    }
    let seconds = clock.now().since(began).as_secs_f64();
    line(format!("{count} advertisements in {seconds:.1} s, {without_rssi} of them without a signal strength"));
    Ok(text)
}
