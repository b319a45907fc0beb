//! The services that the tests bring up: real nginx on a real Debian base.

use crate::home::Home;

/// nginx that runs as www-data on a read-only root and answers with `public/`.
pub const NGINX_CONF: &str = r#"
worker_processes 1;
pid /run/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    include /etc/nginx/mime.types;
    client_body_temp_path /var/lib/nginx/body;
    proxy_temp_path /var/lib/nginx/proxy;
    fastcgi_temp_path /var/lib/nginx/fastcgi;
    uwsgi_temp_path /var/lib/nginx/uwsgi;
    scgi_temp_path /var/lib/nginx/scgi;
    keepalive_requests 1000000;
    server {
        listen 8080;
        root /srv/site;
        location /slow/ { limit_rate 20k; }
    }
}
"#;

/// The images that every test shares, so that one bake of the base serves all.
pub const BASE: &str = r#"
image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates", "nginx-light"]
}
"#;

/// How a site differs from the plain one.
pub struct Site<'a> {
    /// The name of the service.
    pub name: &'a str,
    /// How many instances.
    pub instances: u32,
    /// Lines of the image block.
    pub image: &'a str,
    /// Lines of the service block.
    pub service: &'a str,
    /// Lines of the health block.
    pub health: &'a str,
    /// Lines of the rollout block.
    pub rollout: &'a str,
    /// The command line of the image.
    pub command: &'a str,
}

impl Default for Site<'_> {
    fn default() -> Self {
        Self {
            name: "site",
            instances: 2,
            image: r#"test "serves" { http = { port = 8080, path = "/", status = 200 } }"#,
            service: "",
            health: "",
            rollout: "",
            command: r#"["/usr/sbin/nginx", "-g", "daemon off;"]"#,
        }
    }
}

impl Site<'_> {
    /// The `image` and `service` blocks.
    pub fn blocks(&self, port: u16) -> String {
        let Self { name, instances, image, service, health, rollout, command } = self;
        format!(
            r#"
image "{name}" {{
  from     = image.base
  copy "public/"    {{ to = "/srv/site/" }}
  copy "nginx.conf" {{ to = "/etc/nginx/nginx.conf" }}
  user     = "www-data"
  command  = {command}
  scratch  = ["/run", "/var/lib/nginx", "/var/log/nginx"]
  {image}
}}

service "{name}" {{
  image     = image.{name}
  instances = {instances}
  port "http" {{ container = 8080 }}
  health {{
    http     = {{ port = "http", path = "/" }}
    interval = "200ms"
    {health}
  }}
  route {{
    listen  = {port}
    address = "127.0.0.1"
    port   = "http"
  }}
  rollout {{
    watch         = "200ms"
    drain_timeout = "20s"
    {rollout}
  }}
  {service}
}}
"#
        )
    }

    /// Writes the project: `hornero.hcl`, `nginx.conf` and the page.
    pub fn write(&self, home: &Home, page: &str) {
        home.write("nginx.conf", NGINX_CONF);
        home.write("public/index.html", page);
        home.write("hornero.hcl", &format!("{BASE}{}", self.blocks(home.port)));
    }
}
