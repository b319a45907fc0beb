//! What a directory is, where nobody says.

use crate::{
    Entry, Found, ScaffoldError, compose, docker,
    draft::{Base, Check, Copy, Draft, Image, PORT, Service, name},
    nginx, node, python,
    sources::{COMPOSE_FILES, copies},
};

/// Directories that hold a built site, the likeliest first.
const SITE_DIRECTORIES: [&str; 6] = ["public", "dist", "build", "_site", "html", "www"];

pub(crate) fn draft(found: &Found) -> Result<Draft, ScaffoldError> {
    let there = |path: &str| found.entries.contains_key(path);
    if let Some(path) = COMPOSE_FILES.into_iter().find(|path| there(path)) {
        return compose::draft(found, path);
    }
    if let Some(path) = ["Dockerfile", "Containerfile"].into_iter().find(|path| there(path)) {
        return docker::draft(found, path);
    }
    if there("package.json") && (there("server.js") || node::has_start(found)) {
        return Ok(node::draft(found));
    }
    if ["requirements.txt", "pyproject.toml"].into_iter().any(there)
        || python::main(found).is_some()
    {
        return Ok(python::draft(found));
    }
    if let Some(path) = built_program(found) {
        return Ok(program(found, &path));
    }
    let pages = |directory: &&&str| there(&format!("{directory}/index.html"));
    if let Some(directory) = SITE_DIRECTORIES.iter().find(pages) {
        let from = format!("the site in `{directory}/`");
        return Ok(nginx::site(&found.name, &found.suite, &format!("{directory}/"), from));
    }
    if there("index.html") {
        return Ok(flat_site(found));
    }
    if let Some((path, _)) = found.entries.iter().find(|(_, entry)| **entry == Entry::Program) {
        return Ok(program(found, path));
    }
    Ok(starter(found))
}

/// A site whose pages lie beside `hornero.hcl`: each is named, so that the file itself is not served.
fn flat_site(found: &Found) -> Draft {
    let mut draft = nginx::site(
        &found.name,
        &found.suite,
        "index.html",
        "the pages of this directory".to_owned(),
    );
    if let Some(image) = draft.images.last_mut() {
        image.copies.remove(0);
        let mut pages = copies(found, "/srv/site");
        pages.retain(|copy| copy.source != "nginx.conf");
        image.copies.splice(0..0, pages);
    }
    draft
}

/// Where `go build` and `cargo build --release` put the program of this directory.
fn built_program(found: &Found) -> Option<String> {
    if let Some(manifest) = found.texts.get("Cargo.toml") {
        let line = manifest.lines().find_map(|line| line.trim().strip_prefix("name"));
        let name = line.and_then(|rest| rest.split('"').nth(1)).unwrap_or(&found.name);
        return Some(format!("target/release/{name}"));
    }
    let module = found.texts.get("go.mod")?;
    let line = module.lines().find_map(|line| line.trim().strip_prefix("module "));
    let name = line.and_then(|path| path.trim().rsplit('/').next()).unwrap_or(&found.name);
    let built = found.entries.iter().find(|(_, entry)| **entry == Entry::Program);
    Some(built.map_or_else(|| name.to_owned(), |(path, _)| path.clone()))
}

/// A service that is one program.
pub(crate) fn program(found: &Found, path: &str) -> Draft {
    let file = path.rsplit('/').next().unwrap_or(path);
    let service = name(file);
    let mut image = Image::new(&service, Base::Image("base".to_owned()));
    let to = format!("/usr/local/bin/{file}");
    image.copies.push(Copy {
        source: path.to_owned(),
        to: to.clone(),
        owner: None,
        mode: Some("0755".to_owned()),
    });
    image.user = Some("nobody".to_owned());
    image.env.push(("PORT".to_owned(), PORT.to_string()));
    image.command = vec![to];
    image.test = Some(Check::Tcp { port: PORT });
    let mut draft = Draft {
        from: format!("the program `{path}`"),
        images: vec![Image::base(&found.suite, &["ca-certificates"]), image],
        services: vec![Service::answering(&service, PORT)],
        ..Draft::default()
    };
    if !found.entries.contains_key(path) {
        let how = match found.texts.contains_key("Cargo.toml") {
            true => "cargo build --release".to_owned(),
            false => format!("go build -o {path}"),
        };
        draft.note(format!("`{path}` is not there yet: `{how}` makes it"));
    }
    draft.note(format!(
        "the program is expected to listen on port {PORT} of every address, as `PORT` tells it; change `env`, `port` \
         and `test` where it does not"
    ));
    draft
}

/// A page of its own, for a directory with nothing in it.
fn starter(found: &Found) -> Draft {
    let mut draft = nginx::site(
        &found.name,
        &found.suite,
        "public/",
        "nothing: a page to start with".to_owned(),
    );
    let page = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>It works</title>\n\
                <h1>It works</h1>\n<p>Change <code>public/index.html</code> and run <code>hornero up</code> again.\n";
    draft.files.push(("public/index.html".to_owned(), page.to_owned()));
    draft
}
