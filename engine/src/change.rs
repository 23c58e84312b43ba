//! What alters a shopper besides movement and orders: registrations, profiles, interests, targets that are gone.
//! Pure: who calls this owns the shopper and commits what comes out.

pub mod live;
mod profile;
mod registration;
mod signal;

pub use self::{
    profile::{end_presences, profile_problems, replace_profile},
    registration::{Link, Registration, TAG_PLATFORM, register, remove_target, target_problems},
    signal::{Signal, merge_interests, signal},
};

use crate::{problem::Problem, time::Timestamp};

fn check_zone(path: &str, zone: Option<&str>) -> Option<Problem> {
    let zone = zone?;
    let known = zone.len() <= 64 && jiff::tz::TimeZone::get(zone).is_ok();
    (!known).then(|| Problem::new(path, format!("{zone:?} is not an IANA time zone such as \"Europe/Paris\"")))
}

fn check_locale(path: &str, tag: Option<&str>) -> Option<Problem> {
    crate::content::check_locale(tag?).err().map(|message| Problem::new(path, message))
}

fn check_text(path: &str, text: &str, bytes_max: usize) -> Option<Problem> {
    if text.is_empty() {
        return Some(Problem::new(path, "must not be empty"));
    }
    let fits = text.len() <= bytes_max && !text.chars().any(char::is_control);
    (!fits).then(|| Problem::new(path, format!("at most {bytes_max} bytes, without control characters")))
}

/// Times to come are taken as now: a client's clock may be ahead.
fn not_after(at: Timestamp, now: Timestamp) -> Timestamp {
    at.min(now)
}

#[cfg(test)]
mod tests;
