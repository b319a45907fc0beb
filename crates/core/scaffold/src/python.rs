//! Python applications: what they need, and what starts them.

use crate::{
    Found,
    draft::{Base, Check, Draft, Image, Service, name},
    sources::copies,
};

/// Files that start an application, the likeliest first.
const MAINS: [&str; 6] = ["app.py", "main.py", "wsgi.py", "asgi.py", "server.py", "manage.py"];

/// Where its packages are put: Debian's Python lets nobody else put packages beside its own (PEP 668).
const ENVIRONMENT: &str = "/opt/venv";

/// What runs it where nothing else says.
const PORT: u16 = 8000;

/// The file that starts the application.
pub(crate) fn main(found: &Found) -> Option<&'static str> {
    MAINS.into_iter().find(|file| found.entries.contains_key(*file))
}

/// What is known of an application.
struct Application<'f> {
    /// The file that starts it.
    start: &'static str,
    /// Its text; empty where it is not there.
    text: &'f str,
    /// The program that serves it, where it does not do that itself.
    runner: Option<&'static str>,
    /// What pip installs for it.
    packages: Vec<String>,
    port: u16,
}

impl<'f> Application<'f> {
    fn of(found: &'f Found) -> Self {
        let text_of = |file: &str| found.texts.get(file).map(String::as_str).unwrap_or_default();
        let start = main(found).unwrap_or("app.py");
        let text = text_of(start);
        let (requirements, project) = (text_of("requirements.txt"), text_of("pyproject.toml"));
        let runner = if text.contains("FastAPI(") || text.contains("Starlette(") {
            Some("uvicorn")
        } else if text.contains("Flask(") || start == "wsgi.py" || start == "manage.py" {
            Some("gunicorn")
        } else {
            None
        };
        let needs = |package: &str| {
            let named = |line: &str| line.to_lowercase().contains(package);
            requirements.lines().chain(project.lines()).any(named)
        };
        let mut packages = Vec::new();
        if found.texts.contains_key("requirements.txt") {
            packages.push("-r /srv/app/requirements.txt".to_owned());
        } else if project.contains("[build-system]") {
            packages.push("/srv/app".to_owned());
        }
        packages.extend(runner.filter(|runner| !needs(runner)).map(str::to_owned));
        Self { start, text, runner, packages, port: port(text).unwrap_or(PORT) }
    }

    fn command(&self) -> Vec<String> {
        let module = self.start.trim_end_matches(".py");
        let object = application(self.text).unwrap_or("app");
        match self.runner {
            Some("uvicorn") => words(&[
                &format!("{ENVIRONMENT}/bin/uvicorn"),
                &format!("{module}:{object}"),
                "--host",
                "0.0.0.0",
                "--port",
                &self.port.to_string(),
            ]),
            Some(_) => {
                let target = match self.start {
                    "manage.py" => format!("{}.wsgi", django_project(self.text).unwrap_or(module)),
                    _ => format!("{module}:{object}"),
                };
                let bind = format!("0.0.0.0:{}", self.port);
                words(&[&format!("{ENVIRONMENT}/bin/gunicorn"), "--bind", &bind, &target])
            }
            None if self.packages.is_empty() => words(&["/usr/bin/python3", self.start]),
            None => words(&[&format!("{ENVIRONMENT}/bin/python"), self.start]),
        }
    }

    fn image(&self, name: &str, found: &Found) -> Image {
        let mut image = Image::new(name, Base::Image("base".to_owned()));
        image.copies = copies(found, "/srv/app");
        image.workdir = Some("/srv/app".to_owned());
        image.user = Some("www-data".to_owned());
        // Each line of a crash leaves at once; and nothing is written beside the sources.
        image.env.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
        image.env.push(("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()));
        if !self.packages.is_empty() {
            image.network = true;
            image.provision = vec![
                format!("python3 -m venv {ENVIRONMENT}"),
                format!(
                    "{ENVIRONMENT}/bin/pip install --no-cache-dir --no-compile {}",
                    self.packages.join(" ")
                ),
            ];
        }
        image.command = self.command();
        image.test = Some(Check::Tcp { port: self.port });
        image
    }
}

pub(crate) fn draft(found: &Found) -> Draft {
    let service = name(&found.name);
    let application = Application::of(found);
    let Application { start, port, .. } = application;
    let base = ["python3", "python3-venv", "ca-certificates"];
    let base = if application.packages.is_empty() { &base[..1] } else { &base[..] };
    let mut draft = Draft {
        from: format!("the Python application in `{start}`"),
        images: vec![Image::base(&found.suite, base), application.image(&service, found)],
        services: vec![Service::answering(&service, port)],
        ..Draft::default()
    };
    if main(found).is_none() {
        draft.note(format!(
            "no file was found that starts the application; `command` runs `{start}`"
        ));
    }
    if application.runner.is_none() {
        draft.note(format!("it is expected to listen on port {port} of every address (`0.0.0.0`)"));
    }
    draft
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The variable that the application object is assigned to.
fn application(text: &str) -> Option<&str> {
    let made =
        |line: &&str| ["FastAPI(", "Starlette(", "Flask("].iter().any(|call| line.contains(call));
    let (left, _) = text.lines().find(made)?.split_once('=')?;
    let left = left.split(':').next().unwrap_or_default().trim();
    let is_name =
        !left.is_empty() && left.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(left)
}

/// `NAME` of Django's `os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'NAME.settings')`.
fn django_project(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("DJANGO_SETTINGS_MODULE")?;
    let word = rest.split(['"', '\'']).find(|word| word.ends_with(".settings"))?;
    word.strip_suffix(".settings")
}

/// The port of `port=8080`, `PORT = 8080`, `("", 8080)` and the like.
fn port(text: &str) -> Option<u16> {
    let lines =
        text.lines().filter(|line| line.to_lowercase().contains("port") || line.contains("(\"\","));
    let numbers = lines.flat_map(|line| line.split(|letter: char| !letter.is_ascii_digit()));
    numbers.filter_map(|digits| digits.parse().ok()).find(|port| *port >= 1024)
}
