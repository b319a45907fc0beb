//! A compose file as images and services (compose specification): what maps is mapped, what does not is named.

use serde_json::{Map, Value};

use crate::{
    Found, ScaffoldError, docker,
    dockerfile::words,
    draft::{Check, Draft, Image, Service, name},
};

/// Services of one file.
const SERVICES_MAX: usize = 64;

/// Keys of a service that are taken over, or that mean nothing here.
const MAPPED: [&str; 19] = [
    "image",
    "build",
    "ports",
    "expose",
    "environment",
    "command",
    "entrypoint",
    "user",
    "working_dir",
    "depends_on",
    "deploy",
    "scale",
    "volumes",
    "healthcheck",
    "restart",
    "container_name",
    "networks",
    "tmpfs",
    "init",
];

pub(crate) fn draft(found: &Found, path: &str) -> Result<Draft, ScaffoldError> {
    let text = found.texts.get(path).map(String::as_str).unwrap_or_default();
    let file: Value = serde_saphyr::from_str(text).map_err(|error| ScaffoldError::Syntax {
        file: path.to_owned(),
        line: error.location().map_or(1, |place| place.line() as usize),
        reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
    })?;
    let empty =
        |reason: &str| ScaffoldError::Empty { file: path.to_owned(), reason: reason.to_owned() };
    let services = file["services"].as_object().filter(|services| !services.is_empty());
    let services = services.ok_or_else(|| empty("declares no `services`"))?;
    if services.len() > SERVICES_MAX {
        return Err(empty(&format!("declares more than {SERVICES_MAX} services")));
    }
    let mut draft = Draft { from: format!("`{path}`"), ..Draft::default() };
    for (service_name, service) in services {
        add(found, path, service_name, service, &mut draft)?;
    }
    if services.len() > 1 {
        let first = draft.services.first().map(|service| service.name.clone()).unwrap_or_default();
        draft.note(format!("services reach each other as `NAME.internal`, such as `{first}.internal`, not as `NAME`"));
    }
    for part in ["secrets", "configs", "volumes", "include"] {
        if file.get(part).is_some_and(|part| !part.is_null()) {
            draft.note(format!("`{part}` at the top of the file are not taken over"));
        }
    }
    Ok(draft)
}

fn add(
    found: &Found,
    path: &str,
    compose_name: &str,
    service: &Value,
    draft: &mut Draft,
) -> Result<(), ScaffoldError> {
    let own = name(compose_name);
    let mut ports = add_image(found, path, compose_name, service, draft)?;
    let Some(image) = draft.images.last_mut() else { return Ok(()) };
    configure(image, service);
    let served = image.test.clone();
    let mut notes = Vec::new();
    let routes = routes(service, &own, served.as_ref(), &mut ports, &mut notes);
    let check = docker::asked(&plain(&service["healthcheck"]["test"]));
    let check = check.map(|(port, path)| Check::Http { port, path });
    let test = check.or(served).or_else(|| ports.first().map(|port| Check::Tcp { port: *port }));
    let test = test.filter(|check| ports.contains(&check.port()));
    image.test = test.clone();
    notes.extend(left_out(service, &own));
    let names = docker::named(&ports);
    let name_of =
        |port: u16| names.iter().find(|(_, number)| *number == port).map(|(name, _)| name.clone());
    let replicas = service["deploy"]["replicas"].as_u64().or_else(|| service["scale"].as_u64());
    let depends_on = match &service["depends_on"] {
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(items) => items.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let service = Service {
        image: own.clone(),
        instances: replicas.and_then(|count| u32::try_from(count).ok()).unwrap_or(1).clamp(1, 1000),
        health: test,
        routes: routes
            .into_iter()
            .filter_map(|(listen, port)| Some((listen, name_of(port)?)))
            .collect(),
        depends_on: depends_on.iter().map(|text: &String| name(text)).collect(),
        ports: names,
        name: own,
    };
    draft.services.push(service);
    notes.into_iter().for_each(|note| draft.note(note));
    Ok(())
}

/// Adds the image that a service names or is built from; the ports that it exposes.
fn add_image(
    found: &Found,
    path: &str,
    compose_name: &str,
    service: &Value,
    draft: &mut Draft,
) -> Result<Vec<u16>, ScaffoldError> {
    let own = name(compose_name);
    let refused = |reason: String| ScaffoldError::Empty { file: path.to_owned(), reason };
    let build = match (&service["build"], service["image"].as_str()) {
        (Value::Null, Some(reference)) => {
            let image = docker::named_image(reference, &own, found, draft);
            draft.images.push(image);
            return Ok(Vec::new());
        }
        (Value::Null, None) => {
            return Err(refused(format!("gives `{compose_name}` neither `image` nor `build`")));
        }
        (build, _) => build,
    };
    let context = build.as_str().or_else(|| build["context"].as_str()).unwrap_or(".");
    let context = context.trim_start_matches("./").trim_end_matches('/');
    let is_below = !matches!(context, "" | ".");
    let file = build["dockerfile"].as_str().unwrap_or("Dockerfile");
    let file = if is_below { format!("{context}/{file}") } else { file.to_owned() };
    if !found.texts.contains_key(&file) {
        return Err(refused(format!("builds `{compose_name}` from `{file}`, which is not there")));
    }
    let before = draft.images.len();
    let ports = docker::image(&within(found, context), &file_within(&file, context), &own, draft)?;
    if is_below {
        for copy in draft.images[before..].iter_mut().flat_map(|image| &mut image.copies) {
            copy.source = format!("{context}/{}", copy.source);
        }
    }
    Ok(ports)
}

/// What a service says of how its image runs.
fn configure(image: &mut Image, service: &Value) {
    for (key, value) in environment(&service["environment"]) {
        image.env.retain(|(other, _)| *other != key);
        image.env.push((key, value));
    }
    let list = |value: &Value| match value {
        Value::String(text) => words(text),
        Value::Array(items) => items.iter().map(plain).collect(),
        _ => Vec::new(),
    };
    let entrypoint = list(&service["entrypoint"]);
    let command = list(&service["command"]);
    if !entrypoint.is_empty() || !command.is_empty() {
        image.command = entrypoint.into_iter().chain(command).collect();
    }
    if let Some(user) = service.get("user").filter(|user| !user.is_null()) {
        image.user = plain(user).split(':').next().map(str::to_owned);
    }
    if let Some(directory) = service["working_dir"].as_str() {
        image.workdir = Some(directory.to_owned());
    }
    image.scratch.extend(list(&service["tmpfs"]));
}

/// The ports of the host that lead to ports of a service. What it publishes or exposes becomes one of its ports.
fn routes(
    service: &Value,
    own: &str,
    served: Option<&Check>,
    ports: &mut Vec<u16>,
    notes: &mut Vec<String>,
) -> Vec<(u16, u16)> {
    let mut routes = Vec::new();
    for port in service["ports"].as_array().into_iter().flatten() {
        match published(port) {
            Some((listen, inside)) => {
                // Where nginx was moved to a port that needs no root, so are the ways to it.
                let inside = match served {
                    Some(Check::Http { port, .. }) if inside == 80 => *port,
                    _ => inside,
                };
                if !ports.contains(&inside) {
                    ports.push(inside);
                }
                routes.extend(listen.map(|listen| (listen, inside)));
            }
            None => notes.push(format!("`ports: {}` of `{own}` can't be mapped", plain(port))),
        }
    }
    for port in service["expose"].as_array().into_iter().flatten() {
        ports.extend(plain(port).parse::<u16>().ok().filter(|port| !ports.contains(port)));
    }
    routes
}

/// A word on everything of a service that has no place here.
fn left_out(service: &Value, own: &str) -> Vec<String> {
    let volumes = service["volumes"].as_array().into_iter().flatten().map(|volume| {
        format!(
            "the volume `{}` of `{own}` is not taken over: data needs a stateful service with a `volume`",
            plain(volume)
        )
    });
    let keys = service.as_object().into_iter().flat_map(Map::keys);
    let other = keys
        .filter(|key| !MAPPED.contains(&key.as_str()))
        .map(|key| format!("`{key}` of `{own}` is not taken over"));
    volumes.chain(other).collect()
}

/// What lies in a subdirectory, seen from there.
fn within(found: &Found, context: &str) -> Found {
    if matches!(context, "" | ".") {
        return found.clone();
    }
    let prefix = format!("{context}/");
    fn inside<V: Clone>(
        all: &std::collections::BTreeMap<String, V>,
        prefix: &str,
    ) -> std::collections::BTreeMap<String, V> {
        let below =
            all.iter().filter_map(|(path, value)| Some((path.strip_prefix(prefix)?, value)));
        below.map(|(path, value)| (path.to_owned(), value.clone())).collect()
    }
    Found {
        name: found.name.clone(),
        suite: found.suite.clone(),
        entries: inside(&found.entries, &prefix),
        texts: inside(&found.texts, &prefix),
    }
}

fn file_within(file: &str, context: &str) -> String {
    file.strip_prefix(&format!("{context}/")).unwrap_or(file).to_owned()
}

/// `8000:80`, `127.0.0.1:8000:80`, `80`, or the long form: port of the host, and that inside.
fn published(port: &Value) -> Option<(Option<u16>, u16)> {
    if let Some(long) = port.as_object() {
        let inside = plain(long.get("target")?).parse().ok()?;
        let listen = long.get("published").and_then(|published| plain(published).parse().ok());
        return Some((listen, inside));
    }
    let text = plain(port);
    let text = text.strip_suffix("/tcp").unwrap_or(&text);
    let mut parts = text.rsplit(':');
    let inside = parts.next()?.parse().ok()?;
    match parts.next() {
        None => Some((None, inside)),
        Some(listen) => Some((Some(listen.parse().ok()?), inside)),
    }
}

/// `environment` as a list or an object; what takes its value from the caller's has none here.
fn environment(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(pairs) => {
            pairs.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        Value::Array(items) => items
            .iter()
            .filter_map(|item| item.as_str()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        _ => Vec::new(),
    }
}

/// A scalar as text; lists are joined.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
