//! FCM's HTTP v1 API: a token endpoint and `messages:send`, with the error envelopes that Google's services give.
//!
//! Payloads are held to the documented 4,096 bytes. The real service was seen to take somewhat more.

mod condition;
mod grant;
mod message;
mod shape;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

pub(super) use self::grant::{Fcm, TOKEN_PATH};
use super::{
    identity::FCM_PROJECT_ID,
    record::Message,
    reply::{Judged, Reply, Request, status},
    shared::Shared,
    target::hex,
};

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq)]
struct Refused {
    code: u16,
    message: String,
    details: Vec<Value>,
    /// FCM's error code, or the status where FCM itself was not reached.
    reason: String,
}

impl Refused {
    /// A fault of a field that FCM itself found.
    fn field(field: &str, message: &str) -> Refused {
        let violation = json!({ "field": field, "description": message });
        Refused {
            code: 400,
            message: message.to_owned(),
            details: vec![
                json!({ "@type": BAD_REQUEST, "fieldViolations": [violation] }),
                json!({ "@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT" }),
            ],
            reason: "INVALID_ARGUMENT".to_owned(),
        }
    }

    /// Faults of the JSON's shape, found before FCM sees the message.
    fn shape(violations: &[(String, String)]) -> Refused {
        let lines: Vec<&str> = violations.iter().map(|(_, description)| description.as_str()).collect();
        let violations: Vec<Value> = violations
            .iter()
            .map(|(field, description)| json!({ "field": field, "description": description }))
            .collect();
        Refused {
            code: 400,
            message: lines.join("\n"),
            details: vec![json!({ "@type": BAD_REQUEST, "fieldViolations": violations })],
            reason: "INVALID_ARGUMENT".to_owned(),
        }
    }

    /// A refusal with FCM's error code alone.
    fn code(code: u16, error_code: &str, message: &str) -> Refused {
        let details = vec![json!({ "@type": FCM_ERROR, "errorCode": error_code })];
        Refused { code, message: message.to_owned(), details, reason: error_code.to_owned() }
    }

    /// A refusal by Google's front door.
    fn door(code: u16, reason: &str, message: &str) -> Refused {
        let details = vec![json!({ "@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com" })];
        Refused { code, message: message.to_owned(), details, reason: rpc_status(code).to_owned() }
    }

    fn reply(&self) -> Reply {
        let mut error = json!({ "code": self.code, "message": self.message, "status": rpc_status(self.code) });
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        let reply = Reply::json(status(self.code), &json!({ "error": error }));
        if self.code == 401 {
            reply.with("www-authenticate", "Bearer realm=\"https://accounts.google.com/\"")
        } else {
            reply
        }
    }
}

pub(super) fn judge(shared: &Shared, request: &Request) -> Judged {
    if request.path == TOKEN_PATH {
        return Judged::Answer(grant::judge(shared, request));
    }
    let id = hex::<8>(&shared.entropy);
    let mut seen = Message { payload: String::from_utf8_lossy(&request.body).into_owned(), ..Message::default() };
    let mut target = String::new();
    match check(shared, request, &mut target, &mut seen) {
        Ok(dry_run) => {
            let name = name(shared, &target, &id);
            seen.id.clone_from(&name);
            let reply = Reply::json(StatusCode::OK, &json!({ "name": name }));
            if dry_run { Judged::Answer(reply) } else { Judged::Valid { target, message: seen, reply } }
        }
        Err(refused) => Judged::Refused { target, message: seen, reply: refused.reply(), reason: refused.reason },
    }
}

/// The answer for a status that was asked for.
pub(super) fn refuse(code: u16, reason: Option<&str>) -> (Reply, String) {
    let usual = match code {
        400 => "INVALID_ARGUMENT",
        401 => "THIRD_PARTY_AUTH_ERROR",
        403 => "SENDER_ID_MISMATCH",
        404 => "UNREGISTERED",
        429 => "QUOTA_EXCEEDED",
        503 => "UNAVAILABLE",
        0..400 | 402 | 405..=428 | 430..=502 | 504.. => "INTERNAL",
    };
    let mut refused = Refused::code(code, reason.unwrap_or(usual), "The sandbox was told to refuse this.");
    if code == 429 {
        let violation = json!({ "subject": format!("project:{FCM_PROJECT_ID}"), "description": "Quota exceeded." });
        refused.details.push(json!({ "@type": QUOTA_FAILURE, "violations": [violation] }));
    }
    (refused.reply(), refused.reason)
}

/// The canonical status (google.rpc.Code) of an HTTP status.
fn rpc_status(code: u16) -> &'static str {
    match code {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        0..=400 | 402 | 405..=428 | 430..=499 => "INVALID_ARGUMENT",
        500..=502 | 504.. => "INTERNAL",
    }
}

/// Whether the valid request is only a dry run. What it is about is written down as far as it can be read.
fn check(shared: &Shared, request: &Request, target: &mut String, seen: &mut Message) -> Result<bool, Refused> {
    let project = project(request)?;
    shared.fcm.authorize(request.header("authorization"), shared.clock.now())?;
    if project != FCM_PROJECT_ID {
        let text = format!(
            "Permission 'cloudmessaging.messages.create' denied on the project '{project}' (or it may not exist)."
        );
        return Err(Refused::door(403, "IAM_PERMISSION_DENIED", &text));
    }
    if request.overlong {
        return Err(message::too_large());
    }
    let document: Map<String, Value> = serde_json::from_slice(&request.body)
        .map_err(|error| Refused::shape(&[(String::new(), format!("Invalid JSON payload received. {error}"))]))?;
    let document = shape::check(document)?;
    let dry_run = document.get("validate_only").and_then(Value::as_bool).unwrap_or(false);
    let empty = Map::new();
    let message = document.get("message").and_then(Value::as_object).unwrap_or(&empty);
    message::read(message, seen);
    message::check(shared, message, target)?;
    Ok(dry_run)
}

fn project(request: &Request) -> Result<&str, Refused> {
    let path = request.path.strip_prefix("/v1/projects/").and_then(|rest| rest.strip_suffix("/messages:send"));
    let project = path.filter(|project| !project.is_empty() && !project.contains('/'));
    let project = project.filter(|_| request.method == Method::POST);
    project.ok_or_else(|| Refused {
        code: 404,
        message: "Method not found.".to_owned(),
        details: Vec::new(),
        reason: "NOT_FOUND".to_owned(),
    })
}

/// Topics and conditions get a number, devices an id in FCM's own form.
fn name(shared: &Shared, target: &str, id: &str) -> String {
    let to_one = shared.targets.find(target).is_some();
    let local = if to_one {
        format!("0:{}000%{id}", shared.clock.now().as_millis())
    } else {
        u64::from_str_radix(id, 16).unwrap_or_default().to_string()
    };
    format!("projects/{FCM_PROJECT_ID}/messages/{local}")
}
