//! What `init` writes for each kind of directory.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::{Entry, Found, Origin, ScaffoldError, scaffold};

/// A directory `shop` on Debian 12 with these files; a path that ends in `*` is a program.
fn found(files: &[(&str, &str)]) -> Found {
    let mut found =
        Found { name: "shop".to_owned(), suite: "bookworm".to_owned(), ..Found::default() };
    for (path, text) in files {
        let (path, entry) = match path.strip_suffix('*') {
            Some(path) => (path, Entry::Program),
            None => (*path, Entry::File),
        };
        if let Some((directory, _)) = path.split_once('/') {
            found.entries.insert(directory.to_owned(), Entry::Directory);
        }
        found.entries.insert(path.to_owned(), entry);
        found.texts.insert(path.to_owned(), (*text).to_owned());
    }
    found
}

#[track_caller]
fn check(files: &[(&str, &str)], origin: &Origin, expected: Expect) {
    let made = scaffold(&found(files), origin).expect("it can be mapped");
    let names: Vec<&str> = made.files.iter().map(|(path, _)| path.as_str()).collect();
    expected.assert_eq(&format!("{}files: {names:?}\n", made.text));
}

#[test]
fn an_empty_directory_gets_a_page() {
    check(
        &[],
        &Origin::Anything,
        expect![[r##"
        # Written by `hornero init` from nothing: a page to start with. `hornero plan` shows what `hornero up` would do.

        # The base is baked once; images on it bake in moments.
        image "base" {
        debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
        packages = ["nginx-light"]
        }

        # What runs: files and command on the base.
        image "shop" {
        from = image.base

        copy "public/" { to = "/srv/site/" }
        copy "nginx.conf" { to = "/etc/nginx/nginx.conf" }

        run = ["nginx -t"]

        user = "www-data"
        command = ["/usr/sbin/nginx", "-g", "daemon off;"]

        # The root is read-only; these start empty in every server, and go with it.
        scratch = ["/run", "/var/lib/nginx", "/var/log/nginx"]

        # Must pass before a release gets traffic.
        test "serves" { http = { port = 8080, path = "/" } }
        }

        # Other services reach it as `shop.internal`.
        service "shop" {
        image = image.shop
        instances = 2

        port "http" { container = 8080 }

        # A server gets requests only while this holds.
        health {
        http = { port = "http", path = "/" }
        interval = "500ms"
        }

        # The way in from outside.
        route {
        listen = 8000
        port = "http"
        }
        }
        files: ["nginx.conf", "public/index.html"]
    "##]],
    );
}

#[test]
fn flask_runs_below_gunicorn_in_an_environment_of_its_own() {
    let app = "from flask import Flask\nsite = Flask(__name__)\n";
    let files = [
        ("app.py", app),
        ("requirements.txt", "flask==3.0\n"),
        (".env", "SECRET=1"),
        ("templates/a.html", ""),
    ];
    check(
        &files,
        &Origin::Anything,
        expect![[r##"
        # Written by `hornero init` from the Python application in `app.py`. `hornero plan` shows what `hornero up` would do.

        # The base is baked once; images on it bake in moments.
        image "base" {
        debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
        packages = ["python3", "python3-venv", "ca-certificates"]
        }

        # What runs: files and command on the base.
        image "shop" {
        from = image.base

        copy "app.py" { to = "/srv/app/" }
        copy "requirements.txt" { to = "/srv/app/" }
        copy "templates/" { to = "/srv/app/templates/" }

        # Runs again only when what it reads has changed.
        provision "shell" {
        network = true # recorded: what it fetches is not locked
        inline = [
        "python3 -m venv /opt/venv",
        "/opt/venv/bin/pip install --no-cache-dir --no-compile -r /srv/app/requirements.txt gunicorn",
        ]
        }

        user = "www-data"
        workdir = "/srv/app"
        env = {
        PYTHONUNBUFFERED = "1"
        PYTHONDONTWRITEBYTECODE = "1"
        }
        command = ["/opt/venv/bin/gunicorn", "--bind", "0.0.0.0:8000", "app:site"]

        # Must pass before a release gets traffic.
        test "serves" { tcp = { port = 8000 } }
        }

        # Other services reach it as `shop.internal`.
        service "shop" {
        image = image.shop
        instances = 2

        port "http" { container = 8000 }

        # A server gets requests only while this holds.
        health {
        tcp = { port = "http" }
        interval = "500ms"
        }

        # The way in from outside.
        route {
        listen = 8000
        port = "http"
        }
        }
        files: []
    "##]],
    );
}

#[test]
fn a_script_without_packages_needs_nothing_but_python() {
    let app = "from http.server import *\nHTTPServer((\"\", 8123), SimpleHTTPRequestHandler).serve_forever()\n";
    check(
        &[("server.py", app)],
        &Origin::Anything,
        expect![[r##"
        # Written by `hornero init` from the Python application in `server.py`. `hornero plan` shows what `hornero up` would do.
        # Look at: it is expected to listen on port 8123 of every address (`0.0.0.0`)

        # The base is baked once; images on it bake in moments.
        image "base" {
        debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
        packages = ["python3"]
        }

        # What runs: files and command on the base.
        image "shop" {
        from = image.base

        copy "server.py" { to = "/srv/app/" }

        user = "www-data"
        workdir = "/srv/app"
        env = {
        PYTHONUNBUFFERED = "1"
        PYTHONDONTWRITEBYTECODE = "1"
        }
        command = ["/usr/bin/python3", "server.py"]

        # Must pass before a release gets traffic.
        test "serves" { tcp = { port = 8123 } }
        }

        # Other services reach it as `shop.internal`.
        service "shop" {
        image = image.shop
        instances = 2

        port "http" { container = 8123 }

        # A server gets requests only while this holds.
        health {
        tcp = { port = "http" }
        interval = "500ms"
        }

        # The way in from outside.
        route {
        listen = 8000
        port = "http"
        }
        }
        files: []
    "##]],
    );
}

#[test]
fn node_starts_the_program_itself() {
    let package = r#"{"name": "@me/Web Shop", "scripts": {"start": "node src/index.js"}, "dependencies": {"express": "4"}}"#;
    check(
        &[("package.json", package), ("package-lock.json", "{}"), ("src/index.js", "")],
        &Origin::Anything,
        expect![[r##"
            # Written by `hornero init` from the Node application of `package.json`. `hornero plan` shows what `hornero up` would do.
            # Look at: it is expected to listen on port 3000, as `PORT` tells it; change `env`, `port` and `test` where it does not

            # The base is baked once; images on it bake in moments.
            image "base" {
            debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
            packages = ["nodejs", "npm", "ca-certificates"]
            }

            # What runs: files and command on the base.
            image "me-web-shop" {
            from = image.base

            copy "package-lock.json" { to = "/srv/app/" }
            copy "package.json" { to = "/srv/app/" }
            copy "src/" { to = "/srv/app/src/" }

            # Runs again only when what it reads has changed.
            provision "shell" {
            network = true # recorded: what it fetches is not locked
            inline = [
            "cd /srv/app",
            "HOME=/tmp npm ci --omit=dev --no-audit --no-fund --cache /tmp/npm",
            "rm -rf /tmp/npm /tmp/.npm",
            ]
            }

            user = "www-data"
            workdir = "/srv/app"
            env = {
            NODE_ENV = "production"
            PORT = "3000"
            }
            command = ["/usr/bin/node", "src/index.js"]

            # Must pass before a release gets traffic.
            test "serves" { tcp = { port = 3000 } }
            }

            # Other services reach it as `me-web-shop.internal`.
            service "me-web-shop" {
            image = image.me-web-shop
            instances = 2

            port "http" { container = 3000 }

            # A server gets requests only while this holds.
            health {
            tcp = { port = "http" }
            interval = "500ms"
            }

            # The way in from outside.
            route {
            listen = 8000
            port = "http"
            }
            }
            files: []
        "##]],
    );
}

#[test]
fn a_program_that_is_not_built_yet_is_named() {
    check(
        &[("go.mod", "module example.org/me/hello\n")],
        &Origin::Anything,
        expect![[r##"
        # Written by `hornero init` from the program `hello`. `hornero plan` shows what `hornero up` would do.
        # Look at: `hello` is not there yet: `go build -o hello` makes it
        # Look at: the program is expected to listen on port 8080 of every address, as `PORT` tells it; change `env`, `port` and `test` where it does not

        # The base is baked once; images on it bake in moments.
        image "base" {
        debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
        packages = ["ca-certificates"]
        }

        # What runs: files and command on the base.
        image "hello" {
        from = image.base

        copy "hello" {
        to = "/usr/local/bin/hello"
        mode = "0755"
        }

        user = "nobody"
        env = {
        PORT = "8080"
        }
        command = ["/usr/local/bin/hello"]

        # Must pass before a release gets traffic.
        test "serves" { tcp = { port = 8080 } }
        }

        # Other services reach it as `hello.internal`.
        service "hello" {
        image = image.hello
        instances = 2

        port "http" { container = 8080 }

        # A server gets requests only while this holds.
        health {
        tcp = { port = "http" }
        interval = "500ms"
        }

        # The way in from outside.
        route {
        listen = 8000
        port = "http"
        }
        }
        files: []
    "##]],
    );
    check(
        &[("server*", "")],
        &Origin::Program("server".to_owned()),
        expect![[r##"
        # Written by `hornero init` from the program `server`. `hornero plan` shows what `hornero up` would do.
        # Look at: the program is expected to listen on port 8080 of every address, as `PORT` tells it; change `env`, `port` and `test` where it does not

        # The base is baked once; images on it bake in moments.
        image "base" {
        debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
        packages = ["ca-certificates"]
        }

        # What runs: files and command on the base.
        image "server" {
        from = image.base

        copy "server" {
        to = "/usr/local/bin/server"
        mode = "0755"
        }

        user = "nobody"
        env = {
        PORT = "8080"
        }
        command = ["/usr/local/bin/server"]

        # Must pass before a release gets traffic.
        test "serves" { tcp = { port = 8080 } }
        }

        # Other services reach it as `server.internal`.
        service "server" {
        image = image.server
        instances = 2

        port "http" { container = 8080 }

        # A server gets requests only while this holds.
        health {
        tcp = { port = "http" }
        interval = "500ms"
        }

        # The way in from outside.
        route {
        listen = 8000
        port = "http"
        }
        }
        files: []
    "##]],
    );
}

#[test]
fn a_dockerfile_maps_as_far_as_it_goes() {
    let dockerfile = r#"
ARG VERSION=3.12
FROM python:${VERSION}-slim-bookworm
# comment
ENV PYTHONUNBUFFERED=1 GREETING="hello ${nobody} you"
WORKDIR /app
RUN apt-get update && \
    # in between
    apt-get install -y --no-install-recommends libpq5 curl \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY --chown=www-data:www-data . .
EXPOSE 8000 9000/udp
USER www-data
VOLUME /data
HEALTHCHECK --interval=5s CMD curl -f http://localhost:8000/healthz || exit 1
STOPSIGNAL SIGINT
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "app:app"]
"#;
    let files = [("Dockerfile", dockerfile), ("requirements.txt", "flask\n"), ("app.py", "")];
    check(
        &files,
        &Origin::Dockerfile("Dockerfile".to_owned()),
        expect![[r##"
            # Written by `hornero init` from `Dockerfile`. `hornero plan` shows what `hornero up` would do.
            # Look at: `python:3.12-slim-bookworm` becomes Debian's own `python`: its version may be another
            # Look at: `EXPOSE 9000/udp` can't be mapped: ports are single ones of TCP
            # Look at: `VOLUME /data` becomes scratch, which is empty at each start: data that must stay needs a stateful service with a `volume`
            # Look at: `STOPSIGNAL` has no counterpart: `STOPSIGNAL SIGINT`

            # The base is baked once; images on it bake in moments.
            image "base" {
            debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
            packages = ["ca-certificates", "curl", "libpq5", "python3", "python3-venv"]
            }

            # What runs: files and command on the base.
            image "shop" {
            from = image.base

            copy "app.py" {
            to = "/app/"
            owner = "www-data:www-data"
            }
            copy "requirements.txt" {
            to = "/app/"
            owner = "www-data:www-data"
            }

            run = ["python3 -m venv /opt/venv", "cd /app && pip install -r requirements.txt"]
            network = true # recorded: what it fetches is not locked

            user = "www-data"
            workdir = "/app"
            env = {
            PATH = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            PYTHONUNBUFFERED = "1"
            GREETING = "hello  you"
            }
            command = ["gunicorn", "--bind", "0.0.0.0:8000", "app:app"]

            # The root is read-only; these start empty in every server, and go with it.
            scratch = ["/data"]

            # Must pass before a release gets traffic.
            test "serves" { http = { port = 8000, path = "/healthz" } }
            }

            # Other services reach it as `shop.internal`.
            service "shop" {
            image = image.shop
            instances = 2

            port "http" { container = 8000 }

            # A server gets requests only while this holds.
            health {
            http = { port = "http", path = "/healthz" }
            interval = "500ms"
            }

            # The way in from outside.
            route {
            listen = 8000
            port = "http"
            }
            }
            files: []
        "##]],
    );
}

#[test]
fn what_another_stage_builds_is_named() {
    let dockerfile = "FROM golang:1.22 AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /out/app\n\
                      FROM debian:12-slim\nCOPY --from=build /out/app /usr/local/bin/app\nEXPOSE 8080\nENTRYPOINT [\"app\"]\nCMD [\"--serve\"]\n";
    check(
        &[("Dockerfile", dockerfile)],
        &Origin::Anything,
        expect![[r##"
        # Written by `hornero init` from `Dockerfile`. `hornero plan` shows what `hornero up` would do.
        # Look at: `/out/app` comes out of the stage `build`: build it beforehand and put it here as `app`
        # Look at: `shop` has no `USER` and runs as root of its own namespace; `user = "www-data"` is safer

        # The base is baked once; images on it bake in moments.
        image "base" {
        debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
        packages = ["ca-certificates"]
        }

        # What runs: files and command on the base.
        image "shop" {
        from = image.base

        copy "app" { to = "/usr/local/bin/app" }

        command = ["app", "--serve"]

        # Must pass before a release gets traffic.
        test "serves" { tcp = { port = 8080 } }
        }

        # Other services reach it as `shop.internal`.
        service "shop" {
        image = image.shop
        instances = 2

        port "http" { container = 8080 }

        # A server gets requests only while this holds.
        health {
        tcp = { port = "http" }
        interval = "500ms"
        }

        # The way in from outside.
        route {
        listen = 8000
        port = "http"
        }
        }
        files: []
    "##]],
    );
}

#[test]
fn pages_of_the_nginx_image_are_served_without_root() {
    let dockerfile = "FROM nginx:1.27\nCOPY site /usr/share/nginx/html\n";
    check(
        &[("Dockerfile", dockerfile), ("site/index.html", "")],
        &Origin::Anything,
        expect![[r##"
            # Written by `hornero init` from `Dockerfile`. `hornero plan` shows what `hornero up` would do.
            # Look at: `nginx:1.27` becomes Debian's own `nginx`: its version may be another
            # Look at: nginx listens on port 8080 instead of 80, so that it needs no root

            # The base is baked once; images on it bake in moments.
            image "base" {
            debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
            packages = ["nginx-light"]
            }

            # What runs: files and command on the base.
            image "shop" {
            from = image.base

            copy "site/" { to = "/usr/share/nginx/html" }
            copy "nginx.conf" { to = "/etc/nginx/nginx.conf" }

            run = ["nginx -t"]

            user = "www-data"
            command = ["/usr/sbin/nginx", "-g", "daemon off;"]

            # The root is read-only; these start empty in every server, and go with it.
            scratch = ["/run", "/var/lib/nginx", "/var/log/nginx"]

            # Must pass before a release gets traffic.
            test "serves" { http = { port = 8080, path = "/" } }
            }

            # Other services reach it as `shop.internal`.
            service "shop" {
            image = image.shop
            instances = 2

            port "http" { container = 8080 }

            # A server gets requests only while this holds.
            health {
            http = { port = "http", path = "/" }
            interval = "500ms"
            }

            # The way in from outside.
            route {
            listen = 8000
            port = "http"
            }
            }
            files: ["nginx.conf"]
        "##]],
    );
}

#[test]
fn a_compose_file_becomes_services() {
    let compose = r#"
services:
  web:
    build: ./web
    ports: ["8080:5000", "127.0.0.1:9000:9000/udp"]
    environment: { CACHE: "redis://cache.internal" }
    depends_on: [cache]
    deploy: { replicas: 3 }
    labels: [a]
  cache:
    image: redis:7
    command: redis-server --save ""
    expose: [6379]
    volumes: ["data:/data"]
  other:
    image: registry.example/team/other:1
volumes: { data: {} }
"#;
    let dockerfile = "FROM python:3-bookworm\nCOPY . /app\nUSER nobody\nCMD python /app/main.py\n";
    check(
        &[("compose.yaml", compose), ("web/Dockerfile", dockerfile), ("web/main.py", "")],
        &Origin::Anything,
        expect![[r##"
            # Written by `hornero init` from `compose.yaml`. `hornero plan` shows what `hornero up` would do.
            # Look at: `redis:7` becomes Debian's own `redis`: its version may be another
            # Look at: the volume `data:/data` of `cache` is not taken over: data needs a stateful service with a `volume`
            # Look at: `registry.example/team/other:1` has to be in the store first: `hornero image pull registry.example/team/other:1 --name other`
            # Look at: `python:3-bookworm` becomes Debian's own `python`: its version may be another
            # Look at: `ports: 127.0.0.1:9000:9000/udp` of `web` can't be mapped
            # Look at: `labels` of `web` is not taken over
            # Look at: services reach each other as `NAME.internal`, such as `cache.internal`, not as `NAME`
            # Look at: `volumes` at the top of the file are not taken over

            # What runs: files and command on the base.
            image "cache" {
            debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
            packages = ["redis-server"]

            user = "redis"
            command = ["redis-server", "--save", ""]

            # Must pass before a release gets traffic.
            test "serves" { tcp = { port = 6379 } }
            }

            image "other" {
            from = "other"
            }

            # The base is baked once; images on it bake in moments.
            image "web-base" {
            debian = "bookworm" # this host's own apt sources; versions are locked in hornero.lock
            packages = ["ca-certificates", "python3", "python3-venv"]
            }

            # What runs: files and command on the base.
            image "web" {
            from = image.web-base

            copy "web/main.py" { to = "/app/" }

            run = ["python3 -m venv /opt/venv"]

            user = "nobody"
            env = {
            PATH = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            CACHE = "redis://cache.internal"
            }
            command = ["/bin/sh", "-c", "exec python /app/main.py"]

            # Must pass before a release gets traffic.
            test "serves" { tcp = { port = 5000 } }
            }

            # Other services reach it as `cache.internal`.
            service "cache" {
            image = image.cache
            instances = 1

            port "redis" { container = 6379 }

            # A server gets requests only while this holds.
            health {
            tcp = { port = "redis" }
            interval = "500ms"
            }
            }

            # Other services reach it as `other.internal`.
            service "other" {
            image = image.other
            instances = 1
            }

            # Other services reach it as `web.internal`.
            service "web" {
            image = image.web
            instances = 3
            depends_on = [service.cache]

            port "http" { container = 5000 }

            # A server gets requests only while this holds.
            health {
            tcp = { port = "http" }
            interval = "500ms"
            }

            # The way in from outside.
            route {
            listen = 8080
            port = "http"
            }
            }
            files: []
        "##]],
    );
}

#[test]
fn mistakes_are_told_with_their_line() {
    let dockerfile = Origin::Dockerfile("Dockerfile".to_owned());
    for (text, line) in [("RUN a\n", 1), ("FROM a\n\nnonsense: 1\n", 3)] {
        let error = scaffold(&found(&[("Dockerfile", text)]), &dockerfile).expect_err(text);
        assert!(
            matches!(error, ScaffoldError::Syntax { line: found, .. } if found == line),
            "{error}"
        );
    }
    let compose = Origin::Compose("compose.yaml".to_owned());
    let error = scaffold(&found(&[("compose.yaml", "services:\n  a: [\n")]), &compose)
        .expect_err("it is cut off");
    assert!(matches!(error, ScaffoldError::Syntax { .. }), "{error}");
    let error =
        scaffold(&found(&[("compose.yaml", "x: 1\n")]), &compose).expect_err("it has no services");
    assert_eq!(error.to_string(), "`compose.yaml` declares no `services`");
}

#[test]
fn aliases_do_not_grow_without_end() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let last = level - 1;
        let aliases = vec![format!("*a{last}"); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let compose = Origin::Compose("compose.yaml".to_owned());
    assert!(scaffold(&found(&[("compose.yaml", &bomb)]), &compose).is_err());
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(
        lines in prop::collection::vec(
            "(FROM|RUN|COPY|ADD|ENV|CMD|EXPOSE|USER|WORKDIR|ARG|VOLUME|HEALTHCHECK|X)? ?[ -~]{0,40}(\\\\|<<EOF)?", 0..12
        ),
        text in "(?s).{0,200}",
    ) {
        let dockerfile = format!("FROM debian:12\n{}", lines.join("\n"));
        let _ = scaffold(&found(&[("Dockerfile", &dockerfile)]), &Origin::Anything);
        for file in ["Dockerfile", "compose.yaml", "package.json", "app.py", "go.mod", "Cargo.toml"] {
            let _ = scaffold(&found(&[(file, &text)]), &Origin::Anything);
        }
    }
}
