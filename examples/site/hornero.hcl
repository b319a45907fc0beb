# A site in three servers: Debian, nginx and one directory of pages.
# `hornero up examples/site` bakes it, tests it and rolls it out.

variable "listen" {
  description = "TCP port on this host"
  default     = 8000
}

image "base" {
  debian   = "bookworm" # from this host's own apt sources, locked in hornero.lock
  packages = ["ca-certificates"]
}

image "site" {
  from     = image.base
  packages = ["nginx-light"]
  copy "public/" { to = "/srv/site/" }
  copy "nginx.conf" { to = "/etc/nginx/nginx.conf" }
  run     = ["nginx -t"]
  user    = "www-data"
  command = ["/usr/sbin/nginx", "-g", "daemon off;"]
  scratch = ["/run", "/var/lib/nginx", "/var/log/nginx"]
  test "serves" { http = { port = 8080, path = "/", status = 200 } }
}

service "site" {
  image     = image.site
  instances = 3
  port "http" { container = 8080 }
  health {
    http     = { port = "http", path = "/" }
    interval = "500ms"
    timeout  = "1s"
  }
  route {
    listen = var.listen
    port   = "http"
  }
  rollout {
    drain_timeout = "30s"
    keep_warm     = "10m"
  }
  resources = { memory = "64MiB", cpus = 1 }
}
