//! The error envelopes of Google's services (google.rpc.Status as JSON), with FCM's own error codes where FCM was
//! reached.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::{
    reply::{Reply, status},
    shared::Shared,
};

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const QUOTA_FAILURE: &str = "type.googleapis.com/google.rpc.QuotaFailure";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const TOLD: &str = "The sandbox was told to refuse this.";

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) code: u16,
    pub(super) message: String,
    pub(super) details: Vec<Value>,
    /// FCM's error code, or the status where FCM itself was not reached.
    pub(super) reason: String,
}

impl Refused {
    /// A fault of a field that FCM itself found.
    pub(super) fn field(field: &str, message: &str) -> Refused {
        let violation = json!({ "field": field, "description": message });
        let details = vec![json!({ "@type": BAD_REQUEST, "fieldViolations": [violation] }), own("INVALID_ARGUMENT")];
        Refused { code: 400, message: message.to_owned(), details, reason: "INVALID_ARGUMENT".to_owned() }
    }

    /// The same with the details in the other order, as some faults were seen to have them.
    pub(super) fn reversed(mut self) -> Refused {
        self.details.reverse();
        self
    }

    /// A fault of the whole message, without a field.
    pub(super) fn whole(message: &str) -> Refused {
        let details = vec![json!({ "@type": BAD_REQUEST }), own("INVALID_ARGUMENT")];
        Refused { code: 400, message: message.to_owned(), details, reason: "INVALID_ARGUMENT".to_owned() }
    }

    /// The envelope without details that the real service gives for a condition it cannot read.
    pub(super) fn bare() -> Refused {
        Refused {
            code: 400,
            message: "Request contains an invalid argument.".to_owned(),
            details: Vec::new(),
            reason: "INVALID_ARGUMENT".to_owned(),
        }
    }

    /// Faults of the JSON's shape, found before FCM sees the message.
    pub(super) fn shape(violations: &[(String, String)]) -> Refused {
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
    pub(super) fn code(code: u16, error_code: &str, message: &str) -> Refused {
        let details = vec![own(error_code)];
        Refused { code, message: message.to_owned(), details, reason: error_code.to_owned() }
    }

    /// A refusal by Google's front door.
    pub(super) fn door(code: u16, reason: &str, message: &str) -> Refused {
        let details = vec![json!({ "@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com" })];
        Refused { code, message: message.to_owned(), details, reason: rpc_status(code).to_owned() }
    }

    /// There is nothing at that path.
    pub(super) fn no_method() -> Refused {
        let (message, reason) = ("Method not found.".to_owned(), "NOT_FOUND".to_owned());
        Refused { code: 404, message, details: Vec::new(), reason }
    }

    pub(super) fn reply(&self) -> Reply {
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

/// The answer for a status that was asked for. The order of its details is no contract, and varies.
pub(in super::super) fn refuse(code: u16, reason: Option<&str>, shared: &Shared) -> (Reply, String) {
    let usual = match code {
        400 => "INVALID_ARGUMENT",
        401 => "THIRD_PARTY_AUTH_ERROR",
        403 => "SENDER_ID_MISMATCH",
        404 => "UNREGISTERED",
        429 => "QUOTA_EXCEEDED",
        503 => "UNAVAILABLE",
        0..400 | 402 | 405..=428 | 430..=502 | 504.. => "INTERNAL",
    };
    let mut refused = Refused::code(code, reason.unwrap_or(usual), TOLD);
    let more = match code {
        400 => Some(json!({ "@type": BAD_REQUEST })),
        429 => {
            let subject = format!("project:{}", shared.apps.first().fcm_project_id);
            let violation = json!({ "subject": subject, "description": "Quota exceeded." });
            Some(json!({ "@type": QUOTA_FAILURE, "violations": [violation] }))
        }
        0..400 | 401..=428 | 430.. => Some(json!({ "@type": ERROR_INFO, "reason": refused.reason, "domain": "fcm" })),
    };
    refused.details.extend(more);
    if shared.entropy.bits().is_multiple_of(2) {
        refused = refused.reversed();
    }
    (refused.reply(), refused.reason)
}

/// The answer for a target that is gone.
pub(in super::super) fn gone() -> (Reply, String) {
    let refused = unregistered();
    (refused.reply(), refused.reason)
}

pub(super) fn unregistered() -> Refused {
    Refused::code(StatusCode::NOT_FOUND.as_u16(), "UNREGISTERED", "Requested entity was not found.")
}

fn own(error_code: &str) -> Value {
    json!({ "@type": FCM_ERROR, "errorCode": error_code })
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
