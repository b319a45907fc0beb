//! The OpenAPI 3.1 document, made from the endpoint table and the message types' schemas.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    EndpointId,
    endpoint::{ENDPOINTS, Endpoint},
    message::Problem,
};

/// The document (OpenAPI 3.1.0, whose schemas are JSON Schema 2020-12).
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    let problem = generator.subschema_for::<Problem>();
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_ascii_lowercase()] = operation(endpoint, &problem, &mut generator);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Hornero", "version": hornero_model::program_version(), "license": { "name": "MIT OR Apache-2.0" } },
        "servers": [
            { "url": "http://localhost", "description": "the Unix socket `control.sock` in Hornero's home" },
            { "url": "https://{host}", "description": "what `api` of the home's settings declares", "variables": { "host": { "default": "localhost:8443" } } }
        ],
        "security": [{}, { "token": [] }, { "browser": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "a token of the home's settings" },
                "browser": { "type": "apiKey", "in": "cookie", "name": "hornero-PORT", "description": "what `hornero dashboard` gives a browser; `__Host-hornero-PORT` with TLS" }
            }
        }
    })
}

/// One endpoint.
fn operation(endpoint: &Endpoint, problem: &Schema, generator: &mut SchemaGenerator) -> Value {
    let kind = match (endpoint.id, endpoint.stream) {
        (EndpointId::Events, _) => "text/event-stream",
        (EndpointId::Metrics, _) => "text/plain",
        (_, true) => "application/x-ndjson",
        (_, false) => "application/json",
    };
    let answer = (endpoint.answer)(generator);
    let in_path = endpoint
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = endpoint.query.iter().map(|(name, meaning)| {
        json!({ "name": name, "in": "query", "description": meaning, "schema": { "type": "string" } })
    });
    let mut operation = json!({
        "operationId": endpoint.id.operation(),
        "summary": endpoint.summary,
        "x-hornero-role": endpoint.role.as_str(),
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "done, or the stream's lines", "content": { kind: { "schema": answer } } },
            "default": {
                "description": "refused or failed",
                "content": { "application/json": { "schema": problem } }
            }
        }
    });
    if let Some(request) = endpoint.request {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": request(generator) } }
        });
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_keep_their_names() {
        let names: Vec<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.id.operation()).collect();
        assert_eq!(
            names,
            [
                "Health",
                "Status",
                "Apply",
                "Plan",
                "Test",
                "Rollback",
                "Down",
                "Recycle",
                "Cancel",
                "Resume",
                "Steer",
                "Run",
                "RunOutput",
                "RunCancel",
                "Rehearse",
                "Rehearsal",
                "DeclareJobs",
                "RunJob",
                "Volumes",
                "DeclareVolumes",
                "ChangeVolume",
                "CheckGuards",
                "Preview",
                "RemovePreview",
                "Operation",
                "History",
                "Receipts",
                "Receipt",
                "Audit",
                "AuditVerify",
                "Verify",
                "Logs",
                "OpenApi",
                "Shutdown",
                "Events",
                "Session",
                "Login",
                "Logout",
                "Traffic",
                "Churn",
                "ImageDifference",
                "Quarantine",
                "Quarantines",
                "ReleaseQuarantine",
                "BreakGlass",
                "GlassInput",
                "GlassSessions",
                "Figures",
                "FigureHistory",
                "Metrics",
                "ScrapeTargets",
                "Alerts",
                "Written",
            ]
        );
    }

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    match (key.as_str(), inner) {
                        ("$ref", Value::String(target)) => found.push(target.clone()),
                        _ => references(inner, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_endpoint_is_documented_and_every_reference_resolves() {
        let document = document();
        for endpoint in ENDPOINTS {
            let method = endpoint.method.to_ascii_lowercase();
            assert!(document["paths"][endpoint.path][method].is_object(), "{}", endpoint.path);
        }
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
        }
    }
}
