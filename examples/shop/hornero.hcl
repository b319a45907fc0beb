# A shop in two services: `web` faces outside and asks `api` by its name.
# Calls between services take the same way as calls from outside: health, switch and drain are the same.

variable "listen" {
  description = "TCP port on this host"
  default     = 8001
}

image "base" {
  debian   = "bookworm"
  packages = ["nginx-light"]
}

image "api" {
  from = image.base
  copy "api/nginx.conf" { to = "/etc/nginx/nginx.conf" }
  copy "api/goods.json" { to = "/srv/api/goods.json" }
  user    = "www-data"
  command = ["/usr/sbin/nginx", "-g", "daemon off;"]
  scratch = ["/run", "/var/lib/nginx", "/var/log/nginx"]
  test "lists goods" { http = { port = 8081, path = "/goods", status = 200 } }
}

image "web" {
  from = image.base
  copy "web/nginx.conf" { to = "/etc/nginx/nginx.conf" }
  copy "web/index.html" { to = "/srv/web/index.html" }
  user    = "www-data"
  command = ["/usr/sbin/nginx", "-g", "daemon off;"]
  scratch = ["/run", "/var/lib/nginx", "/var/log/nginx"]
  test "serves" { http = { port = 8080, path = "/", status = 200 } }
}

service "api" {
  image     = image.api
  instances = 2
  port "http" { container = 8081 }
  health {
    http     = { port = "http", path = "/goods" }
    interval = "500ms"
  }
  egress    = false
  resources = { memory = "64MiB", cpus = 1 }
}

service "web" {
  image      = image.web
  instances  = 2
  depends_on = [service.api]
  port "http" { container = 8080 }
  health {
    http     = { port = "http", path = "/" }
    interval = "500ms"
  }
  route {
    listen = var.listen
    port   = "http"
  }
  egress    = false
  resources = { memory = "64MiB", cpus = 1 }
}
