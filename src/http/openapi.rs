//! The OpenAPI 3.1 document, written from the handlers. What holds for every call is added here once.

use axum::{Json, extract::State};
use std::sync::Arc;
use utoipa::{
    OpenApi,
    openapi::{
        self, Content, HttpMethod, Ref, RefOr, Response, Schema,
        header::HeaderBuilder,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::problem::{Document, Fault, Kind, Progress};

/// The part that does not come from handlers.
#[derive(OpenApi)]
#[openapi(
    info(title = "Parvis", description = "Takes in phone locations and beacon sightings, decides by marketing rules, \
        and has offers and order news accepted by push services. Times are RFC 3339 with zone, positions WGS 84 degrees. \
        Unknown fields are errors in the control plane and ignored in observations."),
    components(schemas(Document<'static>, Fault, Progress))
)]
pub(super) struct Base;

/// The finished document.
#[derive(Clone)]
pub(super) struct Finished(pub(super) Arc<openapi::OpenApi>);

pub(super) async fn get(State(Finished(document)): State<Finished>) -> Json<Arc<openapi::OpenApi>> {
    Json(document)
}

/// Adds what holds for every call behind the key check: who may, how it fails, how it is repeated.
pub(super) fn finish(mut document: openapi::OpenApi) -> openapi::OpenApi {
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("a key, or a phone's token")).build();
    let basic = HttpBuilder::new().scheme(HttpAuthScheme::Basic).description(Some("the key as password")).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(key));
    components.add_security_scheme("basic", SecurityScheme::Http(basic));
    for (path, item) in &mut document.paths.paths {
        if !path.starts_with("/v1/") {
            continue;
        }
        let methods = [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Put, &mut item.put),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Delete, &mut item.delete),
        ];
        for (method, operation) in methods {
            if let Some(operation) = operation {
                describe(operation, method != HttpMethod::Get);
            }
        }
    }
    document
}

fn describe(operation: &mut Operation, writes: bool) {
    let nothing: [&str; 0] = [];
    operation.security =
        Some(vec![SecurityRequirement::new("key", nothing), SecurityRequirement::new("basic", nothing)]);
    for kind in Kind::ALL {
        let only_writes = matches!(
            kind,
            Kind::TooLarge
                | Kind::UnsupportedMediaType
                | Kind::Invalid
                | Kind::IdempotencyKeyReused
                | Kind::Conflict
                | Kind::Replayed
        );
        // The router's own answers: no operation has them.
        if kind == Kind::MethodNotAllowed || (only_writes && !writes) {
            continue;
        }
        let status = kind.status().as_u16().to_string();
        operation.responses.responses.entry(status).or_insert_with(|| RefOr::T(failure(kind)));
    }
    if writes {
        let description = "Names this request: a repeat under the same key gets the first answer. At most 128 bytes.";
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(128));
        let parameter = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some(description))
            .schema(Some(text))
            .build();
        operation.parameters.get_or_insert_default().push(parameter.into());
    }
}

fn failure(kind: Kind) -> Response {
    let mut response = Response::new(kind.title());
    let schema = RefOr::<Schema>::Ref(Ref::from_schema_name("Problem"));
    response.content.insert("application/problem+json".to_owned(), Content::new(Some(schema)).into());
    if matches!(kind, Kind::Full | Kind::Unavailable | Kind::ProviderUnavailable) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer);
        let header = HeaderBuilder::new()
            .schema(Some(RefOr::<Schema>::from(Schema::Object(seconds.build()))))
            .description(Some("seconds"))
            .build();
        response.headers.insert("Retry-After".to_owned(), header.into());
    }
    response
}
