//! The JSON form of `google.firebase.fcm.v1.SendMessageRequest`: which fields there are and what they may hold. As the
//! protobuf mapping prescribes, names may be written in either case, and what is not known is refused.

use serde_json::{Map, Value};

use super::error::Refused;

/// What a field holds.
enum Kind {
    Text,
    Bool,
    Integer,
    Number,
    /// Seconds with an `s`, such as `3.5s`.
    Duration,
    /// Texts by name.
    Texts,
    TextList,
    DurationList,
    /// Any JSON object.
    Any,
    Choice(&'static [&'static str]),
    /// A choice that Google's own clients write in lower case.
    ChoiceInAnyCase(&'static [&'static str]),
    Object(&'static [Field]),
}

type Field = (&'static str, Kind);

const REQUEST: &[Field] = &[("validate_only", Kind::Bool), ("message", Kind::Object(MESSAGE))];
const MESSAGE: &[Field] = &[
    ("name", Kind::Text),
    ("data", Kind::Texts),
    ("notification", Kind::Object(NOTIFICATION)),
    ("android", Kind::Object(ANDROID)),
    ("webpush", Kind::Object(WEBPUSH)),
    ("apns", Kind::Object(APNS)),
    ("fcm_options", Kind::Object(LABEL)),
    ("token", Kind::Text),
    ("fid", Kind::Text),
    ("topic", Kind::Text),
    ("condition", Kind::Text),
];
const NOTIFICATION: &[Field] = &[("title", Kind::Text), ("body", Kind::Text), ("image", Kind::Text)];
const LABEL: &[Field] = &[("analytics_label", Kind::Text)];
const ANDROID: &[Field] = &[
    ("collapse_key", Kind::Text),
    ("priority", Kind::ChoiceInAnyCase(&["NORMAL", "HIGH"])),
    ("ttl", Kind::Duration),
    ("restricted_package_name", Kind::Text),
    ("data", Kind::Texts),
    ("notification", Kind::Object(ANDROID_NOTIFICATION)),
    ("fcm_options", Kind::Object(LABEL)),
    ("direct_boot_ok", Kind::Bool),
    ("bandwidth_constrained_ok", Kind::Bool),
    ("restricted_satellite_ok", Kind::Bool),
];
const ANDROID_NOTIFICATION: &[Field] = &[
    ("title", Kind::Text),
    ("body", Kind::Text),
    ("icon", Kind::Text),
    ("color", Kind::Text),
    ("sound", Kind::Text),
    ("tag", Kind::Text),
    ("click_action", Kind::Text),
    ("body_loc_key", Kind::Text),
    ("body_loc_args", Kind::TextList),
    ("title_loc_key", Kind::Text),
    ("title_loc_args", Kind::TextList),
    ("channel_id", Kind::Text),
    ("ticker", Kind::Text),
    ("sticky", Kind::Bool),
    ("event_time", Kind::Text),
    ("local_only", Kind::Bool),
    (
        "notification_priority",
        Kind::Choice(&[
            "PRIORITY_UNSPECIFIED",
            "PRIORITY_MIN",
            "PRIORITY_LOW",
            "PRIORITY_DEFAULT",
            "PRIORITY_HIGH",
            "PRIORITY_MAX",
        ]),
    ),
    ("default_sound", Kind::Bool),
    ("default_vibrate_timings", Kind::Bool),
    ("default_light_settings", Kind::Bool),
    ("vibrate_timings", Kind::DurationList),
    ("visibility", Kind::Choice(&["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"])),
    ("notification_count", Kind::Integer),
    ("light_settings", Kind::Object(LIGHT)),
    ("image", Kind::Text),
    ("bypass_proxy_notification", Kind::Bool),
    ("proxy", Kind::Choice(&["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"])),
];
const LIGHT: &[Field] =
    &[("color", Kind::Object(COLOR)), ("light_on_duration", Kind::Duration), ("light_off_duration", Kind::Duration)];
const COLOR: &[Field] =
    &[("red", Kind::Number), ("green", Kind::Number), ("blue", Kind::Number), ("alpha", Kind::Number)];
const WEBPUSH: &[Field] = &[
    ("headers", Kind::Texts),
    ("data", Kind::Texts),
    ("notification", Kind::Any),
    ("fcm_options", Kind::Object(&[("link", Kind::Text), ("analytics_label", Kind::Text)])),
];
const APNS: &[Field] = &[
    ("headers", Kind::Texts),
    ("payload", Kind::Any),
    ("fcm_options", Kind::Object(&[("analytics_label", Kind::Text), ("image", Kind::Text)])),
    ("live_activity_token", Kind::Text),
];
/// At most one of them.
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];

/// Field and description of each fault.
type Violations = Vec<(String, String)>;

/// The request with every known name in snake case.
pub(super) fn check(request: Map<String, Value>) -> Result<Map<String, Value>, Refused> {
    let mut violations = Violations::new();
    let request = object(request, REQUEST, "", &mut violations);
    if let Some(Value::Object(message)) = request.get("message") {
        let mut set = TARGETS.iter().filter(|name| message.contains_key(**name));
        if set.next().is_some()
            && let Some(second) = set.next()
        {
            let text = format!(
                "Invalid value at 'message' (oneof), oneof field 'target' is already set. Cannot set '{second}'"
            );
            violations.push(("message".to_owned(), text));
        }
    }
    if violations.is_empty() { Ok(request) } else { Err(Refused::shape(&violations)) }
}

/// The seconds of a protobuf duration, if it is one.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(fraction) && fraction.len() <= 9;
    if is_number { number.parse().ok() } else { None }
}

fn object(fields: Map<String, Value>, known: &[Field], path: &str, violations: &mut Violations) -> Map<String, Value> {
    let mut checked = Map::new();
    for (name, value) in fields {
        let snake = snake_case(&name);
        match known.iter().find(|(known, _)| *known == snake) {
            None => {
                let place = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
                let text = format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field.");
                violations.push((path.to_owned(), text));
            }
            // The protobuf mapping reads null as absent.
            Some(_) if value.is_null() => {}
            Some((_, kind)) => {
                let place = if path.is_empty() { snake.clone() } else { format!("{path}.{snake}") };
                let value = value_of(value, kind, &place, violations);
                checked.insert(snake, value);
            }
        }
    }
    checked
}

fn value_of(value: Value, kind: &Kind, path: &str, violations: &mut Violations) -> Value {
    let (fits, name) = match kind {
        Kind::Object(known) => {
            if let Value::Object(fields) = value {
                return Value::Object(object(fields, known, path, violations));
            }
            (false, "TYPE_MESSAGE")
        }
        Kind::Texts => {
            texts(&value, path, violations);
            return value;
        }
        Kind::Text => (value.is_string(), "TYPE_STRING"),
        Kind::Bool => (value.is_boolean(), "TYPE_BOOL"),
        Kind::Integer => (value.is_i64(), "TYPE_INT32"),
        Kind::Number => (value.is_number(), "TYPE_FLOAT"),
        Kind::Any => (value.is_object(), "type.googleapis.com/google.protobuf.Struct"),
        Kind::Duration => (is_duration(&value), "type.googleapis.com/google.protobuf.Duration"),
        Kind::TextList => (is_list(&value, Value::is_string), "TYPE_STRING"),
        Kind::DurationList => (is_list(&value, is_duration), "type.googleapis.com/google.protobuf.Duration"),
        Kind::Choice(names) => (is_choice(&value, names, |one, two| one == two), "TYPE_ENUM"),
        Kind::ChoiceInAnyCase(names) => (is_choice(&value, names, str::eq_ignore_ascii_case), "TYPE_ENUM"),
    };
    if !fits {
        violations.push(fault(path, name, &value));
    }
    value
}

fn texts(value: &Value, path: &str, violations: &mut Violations) {
    let Value::Object(entries) = value else {
        violations.push(fault(path, "Map", value));
        return;
    };
    for (index, (_, value)) in entries.iter().enumerate() {
        if !value.is_string() {
            violations.push(fault(&format!("{path}[{index}].value"), "TYPE_STRING", value));
        }
    }
}

fn fault(path: &str, kind: &str, value: &Value) -> (String, String) {
    (path.to_owned(), format!("Invalid value at '{path}' ({kind}), {value}"))
}

fn is_duration(value: &Value) -> bool {
    value.as_str().and_then(seconds).is_some()
}

/// The name, or, as the protobuf mapping allows, the number.
fn is_choice(value: &Value, names: &[&str], same: impl Fn(&str, &str) -> bool) -> bool {
    let by_number = || value.as_u64().and_then(|number| names.get(usize::try_from(number).ok()?)).is_some();
    value.as_str().map_or_else(by_number, |sent| names.iter().any(|name| same(name, sent)))
}

fn is_list(value: &Value, fits: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(fits))
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn violations(request: Value) -> Value {
        let Value::Object(request) = request else { panic!("an object") };
        check(request).expect_err("faulty").details[0]["fieldViolations"].clone()
    }

    #[test]
    fn names_may_be_written_in_either_case() {
        let request = json!({ "validateOnly": true, "message": { "fcmOptions": { "analyticsLabel": "a" } } });
        let Value::Object(request) = request else { panic!("an object") };
        let checked = check(request).expect("valid");
        assert_eq!(checked["validate_only"], true);
        assert_eq!(checked["message"]["fcm_options"]["analytics_label"], "a");
    }

    #[test]
    fn every_fault_is_named() {
        let found = violations(json!({ "message": {
            "data": { "count": 5 }, "colour": "red", "android": { "priority": "urgent", "ttl": "5" }
        } }));
        let fields: Vec<&str> = found.as_array().expect("a list").iter().filter_map(|v| v["field"].as_str()).collect();
        assert_eq!(fields, ["message.android.priority", "message.android.ttl", "message", "message.data[0].value"]);
        assert_eq!(found[3]["description"], "Invalid value at 'message.data[0].value' (TYPE_STRING), 5");
    }

    #[test]
    fn durations_are_seconds_with_an_s() {
        assert_eq!(seconds("3.5s"), Some(3.5));
        assert_eq!(seconds("-1s"), Some(-1.0));
        for text in ["3", "s", "1e3s", ".5s", "5.s", "+5s", "infs", "1.0000000001s"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
