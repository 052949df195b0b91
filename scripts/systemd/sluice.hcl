# Settings of the gateway: "sluice gateway -help" lists all, written with _ for -.
register     = true
metrics_bind = "127.0.0.1:9102"

# Where others reach it. None: the address of Consul's node, port 8443.
# address     = "{{ GetPrivateIP }}:8443"
# wan_address = "{{ GetPublicIP }}:8443"
