//! FCM's HTTP v1 API: a token endpoint and `messages:send`, with the error envelopes that Google's services give.
//!
//! Payloads are held to the documented 4,096 bytes, 2,048 for topics. The real service was seen to take somewhat more.

mod blocks;
mod condition;
mod error;
mod grant;
mod message;
mod shape;

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use self::error::Refused;
pub(super) use self::{
    error::{gone, refuse},
    grant::{Fcm, TOKEN_PATH},
};
use super::{
    app::App,
    record::Message,
    reply::{Judged, Reply, Request},
    shared::Shared,
    target::hex,
};

pub(super) fn judge(shared: &Shared, request: &Request) -> Judged {
    if request.path == TOKEN_PATH {
        return Judged::Answer(grant::judge(shared, request));
    }
    let id = hex::<8>(&shared.entropy);
    let mut seen =
        Box::new(Message { payload: String::from_utf8_lossy(&request.body).into_owned(), ..Message::default() });
    let mut target = String::new();
    match check(shared, request, &mut target, &mut seen) {
        Ok((app, dry_run)) => {
            let name = name(shared, &app, &target, &id, dry_run);
            seen.id.clone_from(&name);
            let reply = Reply::json(StatusCode::OK, &json!({ "name": name }));
            if dry_run { Judged::Answer(reply) } else { Judged::Valid { target, message: seen, reply } }
        }
        Err(refused) => Judged::Refused { target, message: seen, reply: refused.reply(), reason: refused.reason },
    }
}

/// Whose project it is, and whether the valid request is only a dry run. What it is about is written down as far as it
/// can be read.
fn check(
    shared: &Shared,
    request: &Request,
    target: &mut String,
    seen: &mut Message,
) -> Result<(Arc<App>, bool), Refused> {
    let project = project(request)?;
    let own = shared.apps.find(|app| app.fcm_project_id == project);
    seen.app = own.map(|app| app.name.clone());
    let app = shared.fcm.authorize(request.header("authorization"), shared.clock.now())?;
    if project != app.fcm_project_id {
        let text = format!(
            "Permission 'cloudmessaging.messages.create' denied on the project '{project}' (or it may not exist)."
        );
        return Err(Refused::door(403, "IAM_PERMISSION_DENIED", &text));
    }
    if request.overlong {
        return Err(message::too_large(message::PAYLOAD_BYTES));
    }
    let document: Map<String, Value> = serde_json::from_slice(&request.body)
        .map_err(|error| Refused::shape(&[(String::new(), format!("Invalid JSON payload received. {error}"))]))?;
    let document = shape::check(document)?;
    let dry_run = document.get("validate_only").and_then(Value::as_bool).unwrap_or(false);
    let empty = Map::new();
    let message = document.get("message").and_then(Value::as_object).unwrap_or(&empty);
    message::read(message, seen);
    message::check(shared, &app, message, target)?;
    Ok((app, dry_run))
}

fn project(request: &Request) -> Result<&str, Refused> {
    let path = request.path.strip_prefix("/v1/projects/").and_then(|rest| rest.strip_suffix("/messages:send"));
    let project = path.filter(|project| !project.is_empty() && !project.contains('/'));
    let project = project.filter(|_| request.method == Method::POST);
    project.ok_or_else(Refused::no_method)
}

/// Topics and conditions get a number, devices an id in FCM's own form, and their dry runs none that could be told from
/// another.
fn name(shared: &Shared, app: &App, target: &str, id: &str, dry_run: bool) -> String {
    let to_one = shared.targets.find(target).is_some();
    let local = match (to_one, dry_run) {
        (true, true) => "fake_message_id".to_owned(),
        (true, false) => format!("0:{}000%{id}", shared.clock.now().as_millis()),
        (false, _) => u64::from_str_radix(id, 16).unwrap_or_default().to_string(),
    };
    format!("projects/{}/messages/{local}", app.fcm_project_id)
}
