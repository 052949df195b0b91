# Everything that the file can say; all.json says the same.
route "API.default.dc1.internal.example.consul." {
  cluster   = "api"
  max_flows = 1000
  path      = "splice"
  credit    = 256 * 1024
}

route "*.dc2.internal.example.consul" {
  cluster = "dc2"
  path    = "auto"
}

route "old.default.dc1.internal.example.consul" {
  refuse = "moved to dc3"
}

route "*" {
  cluster = "defaults"
}

cluster "api" {
  policy          = "least_request"
  connect_timeout = "3s"
  panic_threshold = 60
  send_proxy      = true
  dns             = "logical"

  endpoint "10.0.0.1:20000" {
    weight = 10
    health = "warning"
  }
  endpoint "[2001:db8::1]:20000" {
    weight = 128
    health = "critical"
  }
  endpoint "DB.example.:443" {}
}

cluster "dc2" {
  policy          = "random"
  panic_threshold = -1
  endpoint "[::ffff:192.0.2.1]:443" {}
}

cluster "defaults" {
  endpoint "db.example:443" {}
}
