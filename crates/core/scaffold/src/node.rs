//! Node applications: what they need, and what starts them.

use serde_json::Value;

use crate::{
    Found,
    draft::{Base, Check, Draft, Image, Service, name},
    sources::copies,
};

/// What most of them listen on where nothing says another.
const PORT: u16 = 3000;

fn manifest(found: &Found) -> Value {
    let text = found.texts.get("package.json").map(String::as_str).unwrap_or_default();
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// Whether `npm start` would do something.
pub(crate) fn has_start(found: &Found) -> bool {
    let manifest = manifest(found);
    manifest["scripts"]["start"].is_string() || manifest["main"].is_string()
}

pub(crate) fn draft(found: &Found) -> Draft {
    let manifest = manifest(found);
    let service = name(manifest["name"].as_str().unwrap_or(&found.name));
    let script = manifest["scripts"]["start"].as_str();
    let file = script
        .and_then(|script| script.strip_prefix("node "))
        .filter(|rest| !rest.contains(['&', '|', ';', '$', ' ']))
        .or_else(|| if script.is_none() { manifest["main"].as_str() } else { None })
        .or_else(|| script.is_none().then_some("server.js"));
    let has_packages = manifest["dependencies"].as_object().is_some_and(|all| !all.is_empty());
    let needs_npm = has_packages || file.is_none();
    let mut image = Image::new(&service, Base::Image("base".to_owned()));
    image.copies = copies(found, "/srv/app");
    image.workdir = Some("/srv/app".to_owned());
    image.user = Some("www-data".to_owned());
    image.env.push(("NODE_ENV".to_owned(), "production".to_owned()));
    image.env.push(("PORT".to_owned(), PORT.to_string()));
    if has_packages {
        let locked = found.entries.contains_key("package-lock.json");
        let install = if locked { "npm ci" } else { "npm install" };
        image.network = true;
        // npm keeps a cache and logs in the home directory: not for the image.
        image.provision = vec![
            "cd /srv/app".to_owned(),
            format!("HOME=/tmp {install} --omit=dev --no-audit --no-fund --cache /tmp/npm"),
            "rm -rf /tmp/npm /tmp/.npm".to_owned(),
        ];
    }
    image.command = match file {
        Some(file) => vec!["/usr/bin/node".to_owned(), file.to_owned()],
        None => ["/usr/bin/npm", "start"].map(str::to_owned).to_vec(),
    };
    image.test = Some(Check::Tcp { port: PORT });
    let packages: &[&str] =
        if needs_npm { &["nodejs", "npm", "ca-certificates"] } else { &["nodejs"] };
    let mut draft = Draft {
        from: "the Node application of `package.json`".to_owned(),
        images: vec![Image::base(&found.suite, packages), image],
        services: vec![Service::answering(&service, PORT)],
        ..Draft::default()
    };
    draft.note(format!(
        "it is expected to listen on port {PORT}, as `PORT` tells it; change `env`, `port` and `test` where it does not"
    ));
    if file.is_none() {
        draft.note("`npm start` passes no signals on: name the program itself in `command` for a clean stop");
    }
    draft
}
