# A fleet: one base and ten images of different kinds on it. The base is patched once, with
# `hornero patch examples/fleet --deploy`, and every image moves onto it without being baked again.
#
# `hello/hello` is a static program: make it first with `examples/fleet/hello/build.sh`.

variable "listen" {
  description = "TCP port of the site on this host"
  default     = 8002
}

image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates", "openssl", "tzdata"]
  env      = { LANG = "C.UTF-8" }
}

# A web server.
image "site" {
  from     = image.base
  packages = ["nginx-light"]
  copy "site/public/" { to = "/srv/site/" }
  copy "site/nginx.conf" { to = "/etc/nginx/nginx.conf" }
  user    = "www-data"
  command = ["/usr/sbin/nginx", "-g", "daemon off;"]
  scratch = ["/run", "/var/lib/nginx", "/var/log/nginx"]
  test "serves" { http = { port = 8080, path = "/", status = 200 } }
}

# Python.
image "api" {
  from     = image.base
  packages = ["python3-minimal", "libpython3-stdlib"]
  copy "api/api.py" { to = "/srv/api/api.py" }
  user    = "nobody"
  command = ["/usr/bin/python3", "-u", "/srv/api/api.py"]
  test "answers" { http = { port = 8080, path = "/", contains = "goods" } }
}

# Node.
image "web" {
  from     = image.base
  packages = ["nodejs"]
  copy "web/server.js" { to = "/srv/web/server.js" }
  user    = "nobody"
  command = ["/usr/bin/node", "/srv/web/server.js"]
  test "answers" { http = { port = 8080, path = "/", contains = "web" } }
}

# Redis, as a cache: nothing of it outlives a server.
image "cache" {
  from     = image.base
  packages = ["redis-server"]
  copy "cache/redis.conf" { to = "/etc/redis/cache.conf" }
  user    = "redis"
  command = ["/usr/bin/redis-server", "/etc/redis/cache.conf"]
  test "listens" { tcp = { port = 6379 } }
}

# A PostgreSQL client, for a report that runs now and then.
image "report" {
  from     = image.base
  packages = ["postgresql-client"]
  copy "report/report.sh" { to = "/usr/local/bin/report" }
  user    = "nobody"
  command = ["/usr/local/bin/report"]
  test "has a client" { run = ["/usr/bin/psql", "--version"] }
}

# A static program: it needs nothing of the base but its users.
image "hello" {
  from = image.base
  copy "hello/hello" { to = "/usr/local/bin/hello" }
  user    = "nobody"
  command = ["/usr/local/bin/hello"]
  test "answers" { http = { port = 8080, path = "/", contains = "hello" } }
}

# A proxy.
image "proxy" {
  from     = image.base
  packages = ["haproxy"]
  copy "proxy/haproxy.cfg" { to = "/etc/haproxy/haproxy.cfg" }
  user    = "haproxy"
  command = ["/usr/sbin/haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]
  test "answers" { http = { port = 8080, path = "/", status = 200 } }
}

# A cache that speaks another protocol.
image "queue" {
  from     = image.base
  packages = ["memcached"]
  user     = "nobody"
  command  = ["/usr/bin/memcached", "-p", "11211", "-l", "0.0.0.0"]
  test "listens" { tcp = { port = 11211 } }
}

# Perl, which is in every Debian.
image "greeter" {
  from = image.base
  copy "greeter/greeter.pl" { to = "/srv/greeter/greeter.pl" }
  user    = "nobody"
  command = ["/usr/bin/perl", "/srv/greeter/greeter.pl"]
  test "answers" { http = { port = 8080, path = "/", contains = "welcome" } }
}

# PHP.
image "search" {
  from     = image.base
  packages = ["php-cli"]
  copy "search/index.php" { to = "/srv/search/index.php" }
  user    = "nobody"
  command = ["/usr/bin/php", "-S", "0.0.0.0:8080", "-t", "/srv/search"]
  test "answers" { http = { port = 8080, path = "/", contains = "found" } }
}

service "site" {
  image     = image.site
  instances = 2
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

service "api" {
  image = image.api
  port "http" { container = 8080 }
  health {
    http     = { port = "http", path = "/" }
    interval = "500ms"
  }
  egress    = false
  resources = { memory = "64MiB", cpus = 1 }
}

service "cache" {
  image = image.cache
  port "redis" { container = 6379 }
  egress    = false
  resources = { memory = "64MiB", cpus = 1 }
}
