// Package client is how the Consul agent is reached: over HTTP for the API, and
// over gRPC for xDS.
//
// The settings are those of "consul connect envoy", with their meaning there
// (command/flags/http.go, api/api.go and command/connect/envoy/envoy.go in Consul's
// source), and so is the environment:
//
//	-http-addr        CONSUL_HTTP_ADDR         -client-cert      CONSUL_CLIENT_CERT
//	-http-ssl         CONSUL_HTTP_SSL          -client-key       CONSUL_CLIENT_KEY
//	-http-ssl-verify  CONSUL_HTTP_SSL_VERIFY   -tls-server-name  CONSUL_TLS_SERVER_NAME
//	-http-auth        CONSUL_HTTP_AUTH         -namespace        CONSUL_NAMESPACE
//	-token            CONSUL_HTTP_TOKEN        -partition        CONSUL_PARTITION
//	-token-file       CONSUL_HTTP_TOKEN_FILE   -grpc-addr        CONSUL_GRPC_ADDR
//	-ca-file          CONSUL_CACERT            -grpc-ca-file     CONSUL_GRPC_CACERT
//	-ca-path          CONSUL_CAPATH            -grpc-ca-path     CONSUL_GRPC_CAPATH
//
// Each has a variable of Sluice's too, SLUICE_HTTP_ADDR for -http-addr, which goes
// first, and a place in the configuration file, as package config has it:
//
//	var s client.Settings
//	s.Flags(fs)
//	err := fs.Parse(args)
//	err = config.Fill(fs, client.Lookup(os.LookupEnv), file)
//	agent, err := s.Agent()
//
// What differs from Envoy's ways suits a process that runs for months. A token file
// and the client's certificate are read again when they change. The gRPC port is
// looked for at the host that serves HTTP and not at localhost, the certificate
// there must have that host's name or -tls-server-name, and TLS is preferred unless
// there is nothing to verify the agent with and its HTTP is plain anyhow.
package client
