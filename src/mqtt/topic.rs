//! Topics and filters (MQTT 5.0, section 4.7), and whom a topic names. Reads no message.

use parvis_engine::id::DeviceId;

use super::config::Naming;

/// The protocol's limit, bytes.
const TOPIC_BYTES_MAX: usize = 65_535;

/// Whether there is a character in it that the protocol refuses or that would spoil a log.
pub(super) fn has_odd(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Whether this is a filter.
pub(super) fn check_filter(filter: &str) -> Result<(), String> {
    if filter.is_empty() || filter.len() > TOPIC_BYTES_MAX || has_odd(filter) {
        return Err(format!("must have 1 to {TOPIC_BYTES_MAX} bytes and no control characters"));
    }
    if filter.starts_with("$share/") {
        return Err("must not begin with $share/: name the group as `shared`".to_owned());
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        let sound = match level {
            "+" => true,
            "#" => last,
            plain => !plain.contains(['+', '#']),
        };
        if !sound {
            return Err(format!("{filter:?}: + stands alone between slashes, # alone at the end"));
        }
    }
    Ok(())
}

/// Whether a filter selects a topic.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    // Wildcards do not select what belongs to the broker itself.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (plain, Some(level)) if plain == level => {}
            (_, Some(_) | None) => return false,
        }
    }
    levels.next().is_none()
}

/// The device of `owntracks/<user>/<device>`, wherever `owntracks` stands and whatever follows.
pub(super) fn owntracks_device(topic: &str, naming: Naming) -> Option<DeviceId> {
    let mut levels = topic.split('/').skip_while(|level| *level != "owntracks").skip(1);
    let (user, device) = (levels.next()?, levels.next()?);
    // The first colon must be ours, or a:b with c and a with b:c were one.
    if user.is_empty() || device.is_empty() || user.contains(':') {
        return None;
    }
    match naming {
        Naming::UserDevice => format!("{user}:{device}").parse().ok(),
        Naming::Device => device.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_select_as_the_protocol_says() {
        for (filter, topic, selects) in [
            ("owntracks/+/+", "owntracks/jane/phone", true),
            ("owntracks/+/+", "owntracks/jane/phone/event", false),
            ("owntracks/#", "owntracks/jane/phone/event", true),
            ("owntracks/#", "owntracks", true),
            ("owntracks/+", "owntracks", false),
            ("+/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/uptime", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), selects, "{filter} {topic}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for sound in ["a", "+", "#", "a/+/b", "a/#", "/", "a//b"] {
            assert_eq!(check_filter(sound), Ok(()), "{sound}");
        }
        for wrong in ["", "a/#/b", "a+", "a/b#", "$share/g/a", "a\0b"] {
            assert!(check_filter(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_device_is_named_by_its_user_and_nobody_can_be_taken_for_another() {
        let name = |topic, naming| owntracks_device(topic, naming).map(|id| id.to_string());
        assert_eq!(name("owntracks/jane/phone", Naming::UserDevice).as_deref(), Some("jane:phone"));
        assert_eq!(name("acme/owntracks/jane/phone/event", Naming::UserDevice).as_deref(), Some("jane:phone"));
        assert_eq!(name("owntracks/jane/phone", Naming::Device).as_deref(), Some("phone"));
        assert_eq!(name("owntracks/a/b:c", Naming::UserDevice).as_deref(), Some("a:b:c"));
        for nobody in [
            "owntracks/a:b/c",
            "owntracks/jane",
            "owntracks//phone",
            "owntracks/jane/",
            "jane/phone",
            "owntracks/jane/my phone",
        ] {
            assert_eq!(name(nobody, Naming::UserDevice), None, "{nobody}");
        }
    }
}
