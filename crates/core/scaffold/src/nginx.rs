//! The configuration of nginx that runs without root on a read-only root.

use crate::draft::{Base, Check, Copy, Draft, Image, PORT, Service, name};

/// Where nginx writes: each is scratch.
pub(crate) const SCRATCH: [&str; 3] = ["/run", "/var/lib/nginx", "/var/log/nginx"];

/// What starts it.
pub(crate) const COMMAND: [&str; 3] = ["/usr/sbin/nginx", "-g", "daemon off;"];

/// nginx that serves `root` on [`PORT`].
pub(crate) fn configuration(root: &str) -> String {
    format!(
        "# Runs without root on a read-only root: it writes only to /run, /var/lib/nginx and /var/log/nginx.
worker_processes auto;
pid /run/nginx.pid;
error_log stderr notice;

events {{
    worker_connections 1024;
}}

http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log off;
    server_tokens off;
    sendfile on;
    # Longer than Hornero keeps an idle connection, so that it is not nginx that closes it.
    keepalive_timeout 120s;

    client_body_temp_path /var/lib/nginx/body;
    proxy_temp_path       /var/lib/nginx/proxy;
    fastcgi_temp_path     /var/lib/nginx/fastcgi;
    uwsgi_temp_path       /var/lib/nginx/uwsgi;
    scgi_temp_path        /var/lib/nginx/scgi;

    server {{
        listen {PORT};
        root {root};
    }}
}}
"
    )
}

/// Makes an image serve files with nginx.
pub(crate) fn serve(image: &mut Image) {
    image.run.push("nginx -t".to_owned());
    image.user = Some("www-data".to_owned());
    image.command = COMMAND.map(str::to_owned).to_vec();
    image.scratch = SCRATCH.map(str::to_owned).to_vec();
    image.test = Some(Check::Http { port: PORT, path: "/".to_owned() });
}

/// A site of files in `directory`.
pub(crate) fn site(directory_name: &str, suite: &str, directory: &str, from: String) -> Draft {
    let service = name(directory_name);
    let mut image = Image::new(&service, Base::Image("base".to_owned()));
    for (source, to) in [(directory, "/srv/site/"), ("nginx.conf", "/etc/nginx/nginx.conf")] {
        image.copies.push(Copy {
            source: source.to_owned(),
            to: to.to_owned(),
            owner: None,
            mode: None,
        });
    }
    serve(&mut image);
    Draft {
        from,
        images: vec![Image::base(suite, &["nginx-light"]), image],
        services: vec![Service {
            health: Some(Check::Http { port: PORT, path: "/".to_owned() }),
            ..Service::answering(&service, PORT)
        }],
        files: vec![("nginx.conf".to_owned(), configuration("/srv/site"))],
        notes: Vec::new(),
    }
}

/// Makes the official nginx image's pages be served by Debian's nginx, where no configuration came along.
pub(crate) fn serve_pages(image: &mut Image, ports: &mut Vec<u16>, draft: &mut Draft) {
    /// Where that image has its pages.
    const PAGES: &str = "/usr/share/nginx/html";
    image.command = COMMAND.map(str::to_owned).to_vec();
    if image.copies.iter().any(|copy| copy.to.starts_with("/etc/nginx")) {
        draft.note(
            "its own nginx configuration is used: let it listen on a port above 1023, write only below `scratch`, and set \
             `user = \"www-data\"`",
        );
        image.scratch = SCRATCH.map(str::to_owned).to_vec();
        return;
    }
    draft.files.push(("nginx.conf".to_owned(), configuration(PAGES)));
    let configuration = Copy {
        source: "nginx.conf".to_owned(),
        to: "/etc/nginx/nginx.conf".to_owned(),
        owner: None,
        mode: None,
    };
    image.copies.push(configuration);
    serve(image);
    *ports = vec![PORT];
    draft.note(format!("nginx listens on port {PORT} instead of 80, so that it needs no root"));
}
