# RabbitMQ with its queues in a volume: a message that it confirmed is there under the next image.

image "rabbitmq" {
  debian   = "bookworm"
  packages = ["ca-certificates", "rabbitmq-server"]
  copy "rabbitmq.conf" { to = "/etc/rabbitmq/rabbitmq.conf" }
  copy "definitions.json" { to = "/etc/rabbitmq/definitions.json" }
  run  = ["rm /var/lib/rabbitmq/.erlang.cookie"] # whoever has the image has the package's: each volume gets one of its own
  user = "rabbitmq"
  env = {
    HOME              = "/var/lib/rabbitmq" # the cookie of Erlang lies there, in the volume
    RABBITMQ_NODENAME = "rabbit@localhost"  # its data belongs to this name, and each server has another host name
    RABBITMQ_LOGS     = "-"                 # `hornero logs` has them
    # Nodes of a cluster talk over these: there is none, and other services are not to.
    ERL_EPMD_ADDRESS                    = "127.0.0.1"
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS = "-kernel inet_dist_use_interface {127,0,0,1}"
  }
  command = ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
  scratch = ["/var/log/rabbitmq"]
}

volume "queues" {
  size            = "2GiB"
  prevent_destroy = true
}

service "rabbitmq" {
  image = image.rabbitmq
  kind  = "stateful"
  mount "/var/lib/rabbitmq" { volume = volume.queues }
  port "amqp" {
    container = 5672
    protocol  = "tcp"
  }
  health {
    tcp           = { port = "amqp" } # it takes connections once all queues are there
    interval      = "250ms"
    start_timeout = "2m"
  }
  route {
    listen   = 5672
    address  = "127.0.0.1"
    port     = "amqp"
    protocol = "tcp"
  }
  # What waits in the queue outlives the server, too: this is for who wants nothing to wait before an upgrade. It counts what is ready;
  # what consumers have and did not acknowledge yet is not told to clients, and comes back to the queue with the next server.
  guard "nothing-ready" { amqp = { queue = "orders", depth = 0, within = "30s" } }
  rollout {
    strategy      = "replace" # the only one for a single writer
    hold          = "60s"     # Erlang takes some seconds to start: so long new connections wait meanwhile
    drain_timeout = "1s"      # how long open ones may go on before it is stopped
  }
  stop_grace = "60s"
  resources  = { memory = "512MiB", cpus = 1, pids = 1024 } # Erlang has threads by the processors of the host
}
