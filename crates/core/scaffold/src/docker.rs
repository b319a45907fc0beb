//! A Dockerfile as images: what maps is mapped, what does not is named.

use crate::{
    Found, ScaffoldError,
    detect::copies,
    dockerfile::{Instruction, Stage, assignments, command, parse, words},
    draft::{Base, Check, Copy, Draft, Image, PORT, Service, name},
    nginx, shell,
};

/// What is known of the images that people build on.
struct Known {
    base: Base,
    packages: Vec<String>,
    /// What is looked up by programs there, over Debian's own.
    path: Option<&'static str>,
    command: Vec<String>,
    user: Option<&'static str>,
    note: Option<String>,
    /// A step that makes the image's own layout.
    first: Option<&'static str>,
    nginx: bool,
}

const VENV_PATH: &str =
    "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
        serve_pages(&mut image, &mut state.ports, draft);
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

/// What an instruction leaves for those behind it.
#[derive(Default)]
struct State<'s> {
    workdir: String,
    ports: Vec<u16>,
    command: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    /// Names of stages.
    built: Vec<&'s str>,
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

fn apply(
    found: &Found,
    instruction: &Instruction,
    image: &mut Image,
    state: &mut State<'_>,
    draft: &mut Draft,
) {
    let rest = instruction.rest.as_str();
    match instruction.keyword.as_str() {
        "RUN" => run(instruction, image, state, draft),
        "COPY" | "ADD" => copy(found, instruction, image, state, draft),
        "WORKDIR" => {
            state.workdir = below(&state.workdir, rest);
            image.workdir = Some(state.workdir.clone());
        }
        "ENV" => {
            for (name, value) in assignments(rest) {
                image.env.retain(|(other, _)| *other != name);
                image.env.push((name, value));
            }
        }
        "USER" => {
            let user = rest.split(':').next().unwrap_or(rest);
            image.user = Some(user.to_owned());
            if rest.contains(':') {
                draft.note(format!("the group of `USER {rest}` is that of the user here"));
            }
        }
        "EXPOSE" => {
            for word in rest.split_whitespace() {
                let (port, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
                match port.parse() {
                    Ok(port) if protocol == "tcp" => state.ports.push(port),
                    _ => draft.note(format!(
                        "`EXPOSE {word}` can't be mapped: ports are single ones of TCP"
                    )),
                }
            }
        }
        "CMD" => state.command = Some(command(rest)),
        "ENTRYPOINT" => state.entrypoint = Some(command(rest)),
        "VOLUME" => {
            let paths = serde_json::from_str(rest).unwrap_or_else(|_| words(rest));
            for path in paths {
                draft.note(format!(
                    "`VOLUME {path}` becomes scratch, which is empty at each start: data that must stay needs a \
                     stateful service with a `volume`"
                ));
                image.scratch.push(path);
            }
        }
        "HEALTHCHECK" => match asked(rest) {
            Some((port, path)) => image.test = Some(Check::Http { port, path }),
            None => draft
                .note("`HEALTHCHECK` could not be read as a request: see `health` of the service"),
        },
        "LABEL" | "MAINTAINER" => {}
        other => draft.note(format!("`{other}` has no counterpart: `{other} {}`", shortened(rest))),
    }
}

fn run(instruction: &Instruction, image: &mut Image, state: &State<'_>, draft: &mut Draft) {
    let line = match (&instruction.heredoc, serde_json::from_str::<Vec<String>>(&instruction.rest))
    {
        (Some(body), _) => body.clone(),
        (None, Ok(words)) => words.join(" "),
        (None, Err(_)) => {
            let flags = instruction
                .rest
                .split_whitespace()
                .take_while(|word| word.starts_with("--"))
                .count();
            let rest = instruction.rest.splitn(flags + 1, char::is_whitespace).last();
            rest.unwrap_or_default().to_owned()
        }
    };
    let commands = shell::taken_apart(&line);
    image.packages.extend(commands.packages);
    commands.notes.into_iter().for_each(|note| draft.note(note));
    for command in commands.run {
        if command
            .split_whitespace()
            .next()
            .is_some_and(|word| word == "apk" || word == "yum" || word == "dnf")
        {
            draft.note(format!("`{}` is for another distribution", shortened(&command)));
            continue;
        }
        // Each `RUN` begins where the last `WORKDIR` said.
        let command = match state.workdir.as_str() {
            "/" => command,
            workdir => format!("cd {workdir} && {command}"),
        };
        image.run.push(command);
    }
}

fn copy(
    found: &Found,
    instruction: &Instruction,
    image: &mut Image,
    state: &State<'_>,
    draft: &mut Draft,
) {
    let (mut owner, mut mode, mut stage) = (None, None, None);
    let mut paths =
        serde_json::from_str(&instruction.rest).unwrap_or_else(|_| words(&instruction.rest));
    paths.retain(|word: &String| {
        let Some(flag) = word.strip_prefix("--") else { return true };
        match flag.split_once('=') {
            Some(("chown", value)) => owner = Some(value.to_owned()),
            Some(("chmod", value)) if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                mode = Some(format!("{value:0>4}"));
            }
            Some(("from", value)) => stage = Some(value.to_owned()),
            _ => {}
        }
        false
    });
    let Some(to) = paths.pop() else { return };
    let to = below(&state.workdir, &to);
    if instruction.heredoc.is_some() {
        draft.note(format!(
            "`{} <<…` writes `{to}`: put its text into a file and `copy` that",
            instruction.keyword
        ));
        return;
    }
    for source in paths {
        let source = source.trim_start_matches("./").to_owned();
        if let Some(stage) = &stage {
            let known = state.built.contains(&stage.to_lowercase().as_str());
            let file = source.rsplit('/').next().unwrap_or(&source);
            draft.note(match known {
                true => format!(
                    "`{source}` comes out of the stage `{stage}`: build it beforehand and put it here as `{file}`"
                ),
                false => format!("`{source}` comes out of the image `{stage}`: put it here as `{file}`"),
            });
            image.copies.push(Copy {
                source: file.to_owned(),
                to: to.clone(),
                owner: owner.clone(),
                mode: mode.clone(),
            });
        } else if source.contains("://") {
            draft.note(format!("`ADD {source}` fetches: use a `run` with `network = true`, or a file of the directory"));
        } else if source.is_empty() || source == "." {
            for copy in copies(found, &to) {
                image.copies.push(Copy { owner: owner.clone(), mode: mode.clone(), ..copy });
            }
        } else {
            for source in matching(found, &source, draft) {
                image.copies.push(Copy {
                    source,
                    to: to.clone(),
                    owner: owner.clone(),
                    mode: mode.clone(),
                });
            }
        }
    }
}

/// The entries that a source with `*` means; a source without is taken as it is.
fn matching(found: &Found, source: &str, draft: &mut Draft) -> Vec<String> {
    let Some((head, tail)) = source.split_once('*') else {
        let directory =
            found.entries.get(source.trim_end_matches('/')) == Some(&crate::Entry::Directory);
        return vec![if directory && !source.ends_with('/') {
            format!("{source}/")
        } else {
            source.to_owned()
        }];
    };
    let fits = |path: &&String| {
        path.len() >= head.len() + tail.len()
            && path.starts_with(head)
            && path.ends_with(tail)
            && path.matches('/').count() == source.matches('/').count()
    };
    let all: Vec<String> = found.entries.keys().filter(fits).cloned().collect();
    if all.is_empty() {
        draft.note(format!("nothing here is called `{source}`"));
    }
    all
}

/// A path as seen from a working directory.
fn below(workdir: &str, path: &str) -> String {
    match path {
        "." | "./" => format!("{}/", workdir.trim_end_matches('/')),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => {
            format!("{}/{}", workdir.trim_end_matches('/'), relative.trim_start_matches("./"))
        }
    }
}

/// Port and path of `curl http://localhost:8080/health` in a health check.
pub(crate) fn asked(check: &str) -> Option<(u16, String)> {
    let (_, rest) =
        check.split_once("http://localhost").or_else(|| check.split_once("http://127.0.0.1"))?;
    let end = rest.find([' ', '"', '\'', '|', ';', ',', ']']).unwrap_or(rest.len());
    let (port, path) = rest[..end].split_once('/').unwrap_or((&rest[..end], ""));
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None => 80,
    };
    Some((port, format!("/{path}")))
}

/// Makes the official nginx image's pages be served by Debian's nginx, where no configuration came along.
fn serve_pages(image: &mut Image, ports: &mut Vec<u16>, draft: &mut Draft) {
    /// Where that image has its pages.
    const PAGES: &str = "/usr/share/nginx/html";
    image.command = nginx::COMMAND.map(str::to_owned).to_vec();
    if image.copies.iter().any(|copy| copy.to.starts_with("/etc/nginx")) {
        draft.note(
            "its own nginx configuration is used: let it listen on a port above 1023, write only below `scratch`, and set \
             `user = \"www-data\"`",
        );
        image.scratch = nginx::SCRATCH.map(str::to_owned).to_vec();
        return;
    }
    draft.files.push(("nginx.conf".to_owned(), nginx::configuration(PAGES)));
    let configuration = Copy {
        source: "nginx.conf".to_owned(),
        to: "/etc/nginx/nginx.conf".to_owned(),
        owner: None,
        mode: None,
    };
    image.copies.push(configuration);
    nginx::serve(image);
    *ports = vec![PORT];
    draft.note(format!("nginx listens on port {PORT} instead of 80, so that it needs no root"));
}

fn shortened(text: &str) -> String {
    const LETTERS_MAX: usize = 60;
    match text.char_indices().nth(LETTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// What an image of a registry is here.
fn known(reference: &str, host_suite: &str) -> Known {
    let without_digest = reference.split('@').next().unwrap_or(reference);
    let (repository, tag) = match without_digest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (without_digest, "latest"),
    };
    let name = repository.rsplit('/').next().unwrap_or(repository);
    let official = repository == name || repository.ends_with(&format!("library/{name}"));
    let suite = suite(tag).unwrap_or(host_suite).to_owned();
    let debian = |packages: &[&str]| Known {
        base: Base::Debian(suite.clone()),
        packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        path: None,
        command: Vec::new(),
        user: None,
        note: None,
        first: None,
        nginx: false,
    };
    let version =
        format!("`{reference}` becomes Debian's own `{name}`: its version may be another");
    match name {
        _ if !official || tag.contains("alpine") => stored(reference, name),
        "debian" | "buildpack-deps" => debian(&["ca-certificates"]),
        "python" => Known {
            path: Some(VENV_PATH),
            first: Some("python3 -m venv /opt/venv"),
            command: vec!["python3".to_owned()],
            note: Some(version),
            ..debian(&["ca-certificates", "python3", "python3-venv"])
        },
        "node" => Known { note: Some(version), ..debian(&["ca-certificates", "nodejs", "npm"]) },
        "nginx" => Known { nginx: true, note: Some(version), ..debian(&["nginx-light"]) },
        "golang" => Known { note: Some(version), ..debian(&["ca-certificates", "golang-go"]) },
        "rust" => Known { note: Some(version), ..debian(&["ca-certificates", "cargo", "rustc"]) },
        "redis" => Known {
            command: ["redis-server", "--protected-mode", "no"].map(str::to_owned).to_vec(),
            user: Some("redis"),
            note: Some(version),
            ..debian(&["redis-server"])
        },
        "memcached" => Known {
            command: ["memcached"].map(str::to_owned).to_vec(),
            user: Some("nobody"),
            note: Some(version),
            ..debian(&["memcached"])
        },
        "scratch" => Known {
            note: Some("`scratch` becomes a small Debian base".to_owned()),
            ..debian(&["ca-certificates"])
        },
        _ => stored(reference, name),
    }
}

/// An image that has to be brought into the store first.
fn stored(reference: &str, image_name: &str) -> Known {
    let stored = name(image_name);
    let note = format!(
        "`{reference}` has to be in the store first: `hornero image pull {reference} --name {stored}`"
    );
    Known {
        base: Base::Stored(stored),
        packages: Vec::new(),
        path: None,
        command: Vec::new(),
        user: None,
        note: Some(note),
        first: None,
        nginx: false,
    }
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
        serve_pages(&mut image, &mut Vec::new(), draft);
    }
    image
}

/// The suite that a tag such as `3.12-slim-bookworm` names.
fn suite(tag: &str) -> Option<&str> {
    const NUMBERS: [(&str, &str); 4] =
        [("11", "bullseye"), ("12", "bookworm"), ("13", "trixie"), ("14", "forky")];
    let words = || tag.split(['-', '.']);
    let named = words().find(|word| NUMBERS.iter().any(|(_, name)| name == word));
    named.or_else(|| {
        let first = tag.split(['-', '.']).next()?;
        NUMBERS.iter().find(|(number, _)| *number == first).map(|(_, name)| *name)
    })
}
