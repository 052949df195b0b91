# One server without ACLs and TLS, for this machine only.
server               = true
bootstrap_expect     = 1
datacenter           = "dc1"
bind_addr            = "127.0.0.1"
client_addr          = "127.0.0.1"
disable_update_check = true

connect   { enabled = true }
ui_config { enabled = true }
ports     { grpc = 8502 }
