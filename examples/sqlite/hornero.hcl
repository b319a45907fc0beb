# A small program with its data in SQLite on a volume: a note that it acknowledged is there under the next image.

image "notes" {
  debian   = "bookworm"
  packages = ["ca-certificates", "python3-minimal", "libpython3-stdlib"]
  copy "notes.py" { to = "/srv/notes.py" }
  run     = ["install -d -o www-data -g www-data -m 0750 /var/lib/notes"]
  user    = "www-data"
  command = ["/usr/bin/python3", "-u", "/srv/notes.py"]
}

volume "notes" {
  size            = "1GiB"
  prevent_destroy = true
}

service "notes" {
  image = image.notes
  kind  = "stateful" # SQLite has one writer
  # The directory, not the file: SQLite's log lies beside it.
  mount "/var/lib/notes" { volume = volume.notes }
  port "http" { container = 8080 }
  health {
    http     = { port = "http", path = "/health" }
    interval = "100ms"
  }
  route {
    listen  = 8080
    address = "127.0.0.1"
    port    = "http"
  }
  rollout {
    strategy      = "replace" # the only one for a single writer
    hold          = "15s"     # how long new requests wait meanwhile
    drain_timeout = "5s"      # how long those that are under way may take
  }
  stop_grace = "30s"
  resources  = { memory = "128MiB", cpus = 1 }
}
