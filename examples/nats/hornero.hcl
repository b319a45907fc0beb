# NATS with JetStream's streams in a volume: a message that it acknowledged is there under the next image.

image "nats" {
  debian   = "bookworm"
  packages = ["ca-certificates", "nats-server"]
  copy "nats-server.conf" { to = "/etc/nats-server.conf" }
  run     = ["install -d -o nats -g nats -m 0750 /var/lib/nats"]
  user    = "nats"
  command = ["/usr/sbin/nats-server", "-c", "/etc/nats-server.conf"]
}

volume "streams" {
  size            = "2GiB"
  prevent_destroy = true
}

service "nats" {
  image = image.nats
  kind  = "stateful"
  mount "/var/lib/nats" { volume = volume.streams }
  port "client" {
    container = 4222
    protocol  = "tcp"
  }
  port "monitor" { container = 8222 }
  health {
    http     = { port = "monitor", path = "/healthz" } # all streams are there
    interval = "100ms"
  }
  route {
    listen   = 4222
    address  = "127.0.0.1"
    port     = "client"
    protocol = "tcp"
  }
  rollout {
    strategy      = "replace" # the only one for a single writer
    hold          = "15s"     # how long new connections wait meanwhile
    drain_timeout = "1s"      # how long open ones may go on before it is stopped
  }
  # Once there is a stream `orders` with a consumer `mail`, this keeps the server until that has all messages:
  #   guard "mailed" { nats = { stream = "orders", consumer = "mail", pending = 0 } }
  stop_signal = "SIGINT" # it writes what it has and ends with 0
  stop_grace  = "30s"
  resources   = { memory = "256MiB", cpus = 1 }
}
