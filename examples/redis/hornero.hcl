# Redis with an append-only file in a volume: what it acknowledged is there under the next image.

image "redis" {
  debian   = "bookworm"
  packages = ["ca-certificates", "redis-server"]
  copy "redis.conf" { to = "/etc/redis/redis.conf" }
  user    = "redis"
  command = ["/usr/bin/redis-server", "/etc/redis/redis.conf"]
}

volume "cache" {
  size            = "1GiB"
  prevent_destroy = true
}

service "redis" {
  image = image.redis
  kind  = "stateful"
  mount "/var/lib/redis" { volume = volume.cache }
  port "redis" {
    container = 6379
    protocol  = "tcp"
  }
  health {
    tcp           = { port = "redis" }
    interval      = "100ms"
    healthy_after = 2 # while it reads a long file it takes connections and answers that it is loading: then more
  }
  route {
    listen   = 6379
    address  = "127.0.0.1"
    port     = "redis"
    protocol = "tcp"
  }
  rollout {
    strategy      = "replace" # the only one for a single writer
    hold          = "15s"     # how long new connections wait meanwhile
    drain_timeout = "1s"      # how long open ones may go on before it is stopped
  }
  stop_grace = "30s"
  resources  = { memory = "256MiB", cpus = 1 }
}
