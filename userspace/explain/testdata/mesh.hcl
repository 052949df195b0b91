# A gateway's table in dc1, as Consul makes it: services here, dc2 and dc3 through their
# gateways, peer "cloud" both ways, servers; and routes that are not Consul's.
route "web.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "web" }
route "v1.web.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "v1.web" }
route "v2.web.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "v2.web" }
route "api.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul" {
  cluster   = "api"
  max_flows = 100
  path      = "splice"
}
route "db.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "db" }
route "cache.team.dc1.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "cache" }
route "queue.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "queue" }

route "dc2.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "dc2" }
route "*.dc2.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "dc2" }
route "dc3.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "dc3" }
route "*.dc3.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "dc3" }
route "billing.default.dc3.internal.11111111-2222-3333-4444-555555555555.consul" { cluster = "billing" }

route "web.default.default.cloud.external.11111111-2222-3333-4444-555555555555.consul" { cluster = "exported~web" }
route "shop.default.default.cloud.external.11111111-2222-3333-4444-555555555555.consul" {
  refuse = "Consul has gateways decrypt http services exported to peers, and Sluice never decrypts; export it as tcp"
}
route "pay.default.default.home.external.99999999-8888-7777-6666-555555555555.consul" { cluster = "pay" }
route "pos.default.default.home.external.99999999-8888-7777-6666-555555555555.consul" { cluster = "pay" }

route "srv1.server.dc1.consul" { cluster = "srv1" }
route "server.dc1.consul" { cluster = "srv1" }
route "server.dc2.consul" { cluster = "dc2" }
route "*.server.dc2.consul" { cluster = "dc2" }
route "server.dc1.peering.11111111-2222-3333-4444-555555555555.consul" { cluster = "srv1" }
route "server.dc9.peering.99999999-8888-7777-6666-555555555555.consul" { cluster = "pay" }

route "api.example.com" { cluster = "api" }
route "old.example.com" { refuse = "moved to new.example.com" }
route "*.example.com" { cluster = "api" }
route "*.eu.example.com" { cluster = "api" }
route "a.two.example.net" { cluster = "api" }
route "a.three.example.net" { cluster = "api" }

cluster "web" {
  policy          = "least_request"
  connect_timeout = "7s"
  endpoint "10.0.0.1:20000" { weight = 3 }
  endpoint "10.0.0.2:20000" { health = "warning" }
  endpoint "10.0.0.3:20000" { health = "critical" }
}
cluster "v1.web" {
  endpoint "10.0.0.1:20000" { weight = 3 }
}
cluster "v2.web" {}
cluster "api" {
  send_proxy = true
  endpoint "[2001:db8::1]:20000" {}
}
cluster "db" {
  endpoint "10.0.1.1:20000" {}
  endpoint "10.0.1.2:20000" { health = "critical" }
  endpoint "10.0.1.3:20000" { health = "critical" }
}
cluster "cache" {
  dns = "logical"
  endpoint "cache-1.example:11211" {}
  endpoint "cache-2.example:11211" {}
}
cluster "queue" {
  panic_threshold = -1
  endpoint "10.0.2.1:20000" { health = "critical" }
  endpoint "10.0.2.2:20000" { health = "critical" }
}
cluster "dc2" {
  endpoint "192.0.2.1:8443" {}
  endpoint "192.0.2.2:8443" {}
}
cluster "dc3" {
  endpoint "192.0.2.3:8443" {}
}
cluster "billing" {
  endpoint "192.0.2.4:8443" {}
}
cluster "exported~web" {
  policy          = "random"
  panic_threshold = -1
  endpoint "10.0.0.1:20000" { weight = 3 }
  endpoint "10.0.0.3:20000" { health = "critical" }
}
cluster "pay" {
  endpoint "203.0.113.1:8443" {}
}
cluster "srv1" {
  endpoint "10.0.9.1:8300" {}
}
