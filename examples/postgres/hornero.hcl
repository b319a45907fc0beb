# PostgreSQL with its data in a volume: the server is replaced by each new image, the data never is.

image "postgres" {
  debian   = "bookworm"
  packages = ["ca-certificates", "postgresql-15"]
  copy "pg_hba.conf" { to = "/etc/postgresql/15/main/pg_hba.conf" }
  user = "postgres"
  command = [
    "/usr/lib/postgresql/15/bin/postgres",
    "-c", "config_file=/etc/postgresql/15/main/postgresql.conf",
    "-c", "listen_addresses=*",
    "-c", "unix_socket_directories=",
    "-c", "external_pid_file=",
    "-c", "ssl=off",
  ]
}

# What the package's own script made of the data directory comes to the volume when it is first used.
volume "orders" {
  size            = "2GiB"
  prevent_destroy = true
}

service "db" {
  image = image.postgres
  kind  = "stateful"
  mount "/var/lib/postgresql" { volume = volume.orders }
  port "pg" {
    container = 5432
    protocol  = "tcp"
  }
  health {
    tcp           = { port = "pg" }
    interval      = "100ms"
    healthy_after = 3 # it takes connections a moment before it answers them
  }
  route {
    listen   = 5432
    address  = "127.0.0.1"
    port     = "pg"
    protocol = "tcp"
  }
  rollout {
    strategy      = "replace" # the only one for a single writer
    hold          = "15s"     # how long new connections wait meanwhile
    drain_timeout = "1s"      # how long open ones may go on before it is stopped
  }
  stop_signal = "SIGINT" # a fast and clean end of PostgreSQL
  stop_grace  = "60s"
  resources   = { memory = "512MiB", cpus = 1 }
}
