// Package static makes the table from a file, for a gateway without Consul.
//
// The file is HCL, or JSON in the same shape when its name ends in ".json" (see
// github.com/hashicorp/hcl, json/spec.md):
//
//	route "api.default.dc1.internal.example.consul" { # or "*.dc2.internal.example.consul", or "*"
//	  cluster   = "api"
//	  max_flows = 1000   # at one time; not set: the gateway's limit
//	  path      = "auto" # or a path by name; not set: the gateway's
//	  credit    = 262144 # bytes, of the sockmap path; not set: the gateway's
//	}
//
//	route "old.default.dc1.internal.example.consul" {
//	  refuse = "moved to dc3" # in place of a cluster
//	}
//
//	cluster "api" {
//	  policy          = "round_robin" # the default; or least_request, random
//	  connect_timeout = "3s"          # not set: the gateway's
//	  panic_threshold = 50            # percent, the default; -1: never
//	  send_proxy      = false         # the default
//	  dns             = "strict"      # the default; or logical: a host is one endpoint
//
//	  endpoint "10.0.0.1:20000" { # or "[2001:db8::1]:20000", or "db.example:443"
//	    weight = 10        # 1, the default, to 128
//	    health = "passing" # the default; or warning, critical
//	  }
//	}
//
// read.go turns the file into this shape, check.go the shape into routes and
// clusters; what is wrong is told with file and line, as much of it at once as can
// be. source.go reads the file again when it is told to, or when watch.go has seen
// a change. A file that is not good in every line changes nothing: the table stays
// that of the last good one.
package static
