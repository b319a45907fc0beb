//! A Dockerfile as images: what maps is mapped, what does not is named.

mod instructions;
mod known;

use crate::{
    Found, ScaffoldError,
    dockerfile::{Stage, parse},
    draft::{Base, Check, Copy, Draft, Image, PORT, Service, name},
    nginx, shell,
};

pub(crate) use instructions::asked;

use instructions::{State, apply};
use known::known;

pub(crate) fn draft(found: &Found, path: &str) -> Result<Draft, ScaffoldError> {
    let mut draft = Draft { from: format!("`{path}`"), ..Draft::default() };
    let service = name(&found.name);
    let ports = image(found, path, &service, &mut draft)?;
    let made = draft.images.last();
    let check = made.and_then(|image| image.test.clone());
    let mut service = Service::answering(&service, check.as_ref().map_or(PORT, Check::port));
    service.health = check;
    service.ports = named(&ports);
    service.routes.retain(|_| !ports.is_empty());
    if ports.is_empty() {
        service.ports.clear();
        service.health = None;
        draft.note("no `EXPOSE` says which port it listens on: add `port`, `health` and `route` where it has one");
    } else {
        service.routes = vec![(8000, service.ports[0].0.clone())];
    }
    draft.services.push(service);
    Ok(draft)
}

/// Ports that speak no HTTP, and what they are called: a port whose name begins with `http` is taken for HTTP.
const NO_HTTP: [(u16, &str); 10] = [
    (25, "smtp"),
    (1883, "mqtt"),
    (3306, "mysql"),
    (4222, "nats"),
    (5432, "postgresql"),
    (5672, "amqp"),
    (6379, "redis"),
    (9092, "kafka"),
    (11211, "memcached"),
    (27017, "mongodb"),
];

/// Names for ports: `http` for the first that may speak it.
pub(crate) fn named(ports: &[u16]) -> Vec<(String, u16)> {
    let known =
        |port: u16| NO_HTTP.iter().find(|(number, _)| *number == port).map(|(_, name)| *name);
    let web = ports.iter().copied().find(|port| known(*port).is_none());
    let name = |port: u16| match known(port) {
        Some(name) => name.to_owned(),
        None if web == Some(port) => "http".to_owned(),
        None => format!("port-{port}"),
    };
    ports.iter().map(|port| (name(*port), *port)).collect()
}

/// Adds the image of a Dockerfile's last stage to the draft; gives the ports it exposes.
pub(crate) fn image(
    found: &Found,
    path: &str,
    image_name: &str,
    draft: &mut Draft,
) -> Result<Vec<u16>, ScaffoldError> {
    let text = found.texts.get(path).map(String::as_str).unwrap_or_default();
    let stages = parse(path, text)?;
    let chain = chain(&stages);
    let built: Vec<&str> = stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
    let known = known(&chain[0].from, &found.suite);
    let mut image = Image::new(image_name, known.base.clone());
    image.packages = known.packages.clone();
    image.run.extend(known.first.map(str::to_owned));
    image.command = known.command.clone();
    image.user = known.user.map(str::to_owned);
    if let Some(path) = known.path {
        image.env.push(("PATH".to_owned(), path.to_owned()));
    }
    known.note.iter().for_each(|note| draft.note(note.clone()));
    let mut state = State { workdir: "/".to_owned(), built, ..State::default() };
    for instruction in chain.iter().flat_map(|stage| &stage.instructions) {
        apply(found, instruction, &mut image, &mut state, draft);
    }
    if let Some(command) = started(state.entrypoint, state.command) {
        image.command = command;
    }
    if known.nginx {
        nginx::serve_pages(&mut image, &mut state.ports, draft);
    }
    keep_last_copies(&mut image);
    if image.command.is_empty() {
        draft.note("nothing says what runs (`CMD`, `ENTRYPOINT`): set `command`");
    }
    if image.run.iter().chain(&image.provision).any(|command| shell::fetches(command)) {
        image.network = true;
    }
    place_packages(&mut image, &chain[0].from, draft);
    if image.user.is_none() {
        draft.note(format!("`{image_name}` has no `USER` and runs as root of its own namespace; `user = \"www-data\"` is safer"));
    }
    if image.test.is_none()
        && let Some(port) = state.ports.first()
    {
        image.test = Some(Check::Tcp { port: *port });
    }
    draft.images.push(image);
    Ok(state.ports)
}

/// What an entry point and a command start together; none where there is neither.
fn started(entrypoint: Option<Vec<String>>, command: Option<Vec<String>>) -> Option<Vec<String>> {
    let Some(entrypoint) = entrypoint else { return command };
    // A command of a shell is not given to an entry point.
    let arguments = command.filter(|words| words.first().is_none_or(|word| word != "/bin/sh"));
    Some(entrypoint.into_iter().chain(arguments.unwrap_or_default()).collect())
}

/// What is copied twice is copied by the last of them, with its owner.
fn keep_last_copies(image: &mut Image) {
    let all = std::mem::take(&mut image.copies);
    for (index, copy) in all.iter().enumerate() {
        let again = |later: &Copy| (&later.source, &later.to) == (&copy.source, &copy.to);
        if !all[index + 1..].iter().any(again) {
            image.copies.push(copy.clone());
        }
    }
}

/// Packages go into a base of their own, so that a change of the application does not bake them again; `from` is what
/// the Dockerfile names as base.
fn place_packages(image: &mut Image, from: &str, draft: &mut Draft) {
    if let Base::Debian(suite) = &image.base {
        let packages: Vec<&str> = image.packages.iter().map(String::as_str).collect();
        let mut base = Image::base(suite, &packages);
        base.name = match draft.images.is_empty() {
            true => "base".to_owned(),
            false => format!("{}-base", image.name),
        };
        base.packages.sort();
        base.packages.dedup();
        image.base = Base::Image(base.name.clone());
        draft.images.push(base);
    } else if !image.packages.is_empty() {
        draft.note(format!(
            "`{from}` is no base of Debian's here: packages can't be added to it ({})",
            image.packages.join(", ")
        ));
    }
    image.packages.clear();
}

/// The last stage and those it is made from, the lowest first.
fn chain(stages: &[Stage]) -> Vec<&Stage> {
    let mut chain = vec![&stages[stages.len() - 1]];
    let mut below = stages.len() - 1;
    // Each is looked for among those before it, so this ends.
    while let Some(at) = stages[..below]
        .iter()
        .rposition(|stage| stage.name.as_deref() == Some(chain[0].from.to_lowercase().as_str()))
    {
        chain.insert(0, &stages[at]);
        below = at;
    }
    chain
}

/// The image that a compose file names without building it.
pub(crate) fn named_image(
    reference: &str,
    image_name: &str,
    found: &Found,
    draft: &mut Draft,
) -> Image {
    let known = known(reference, &found.suite);
    let mut image = Image::new(image_name, known.base);
    image.packages = known.packages;
    image.command = known.command;
    image.user = known.user.map(str::to_owned);
    known.note.into_iter().for_each(|note| draft.note(note));
    if known.nginx {
        nginx::serve_pages(&mut image, &mut Vec::new(), draft);
    }
    image
}
