//! What Apple asks for each push type: topic, priority, life and size. No payloads.
//!
//! Source: Apple, "Sending notification requests to APNs", and for the younger types the articles on Push to Talk,
//! WidgetKit push notifications and controls.

use parvis_engine::{
    notification::{Priority, PushKind},
    shopper::ACTIVITY_SUFFIX,
};

const BYTES_MAX: usize = 4096;
const VOIP_BYTES_MAX: usize = 5120;

/// The topic: the app's bundle id and what the type adds to it, unless it stands there already.
pub(super) fn topic(kind: PushKind, bundle: &str) -> String {
    let suffix = suffix(kind);
    if bundle.ends_with(suffix) { bundle.to_owned() } else { format!("{bundle}{suffix}") }
}

/// `apns-priority`. A background push at 10 is refused, a call at less rings late; a Live Activity knows two.
pub(super) fn priority(kind: PushKind, asked: Priority) -> &'static str {
    match (kind, asked) {
        (PushKind::Background, _) => "5",
        (PushKind::Voip | PushKind::PushToTalk, _) => "10",
        (PushKind::LiveActivity, Priority::Low) => "5",
        (_, Priority::High) => "10",
        (_, Priority::Normal) => "5",
        (_, Priority::Low) => "1",
    }
}

/// Whether there is to be one attempt only: nobody wants to be rung for a call that is over.
pub(super) fn is_for_the_moment(kind: PushKind) -> bool {
    matches!(kind, PushKind::Voip | PushKind::PushToTalk)
}

/// The largest payload.
pub(super) fn bytes_max(kind: PushKind) -> usize {
    if kind == PushKind::Voip { VOIP_BYTES_MAX } else { BYTES_MAX }
}

fn suffix(kind: PushKind) -> &'static str {
    match kind {
        PushKind::Alert | PushKind::Background | PushKind::Mdm => "",
        PushKind::Location => ".location-query",
        PushKind::Voip => ".voip",
        PushKind::Complication => ".complication",
        PushKind::FileProvider => ".pushkit.fileprovider",
        PushKind::LiveActivity => ACTIVITY_SUFFIX,
        PushKind::PushToTalk => ".voip-ptt",
        PushKind::Widgets => ".push-type.widgets",
        PushKind::Controls => ".push-type.controls",
    }
}
