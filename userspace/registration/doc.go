// Package registration is the gateway's service in its Consul agent: what "consul
// connect envoy -gateway=mesh" does about it, and beyond that keeps it true.
//
//	settings.go    what the flags say, and what of it makes no sense
//	address.go     addresses as flags have them, go-sockaddr templates included
//	definition.go  the service as it is registered, and how another one differs
//	options.go     what proxy.config sets
//	listener.go    where the gateway listens, by the service and its options
//	registrar.go   Registrar: Start, Run, Status
//	watch.go       one look at the agent after the other, and what follows from it
//	agent.go       the requests, each bounded in time
//	leave.go       maintenance mode while draining, deregistration at the end
//	explain.go     what is probably wrong when the agent refuses
//
// # Whose service it is
//
// With -register the gateway registers its service, as the flags define it, and it
// is Sluice's own: registered again when the agent lost it or somebody changed it,
// deregistered by a clean stop. Otherwise somebody else has told the agent of it,
// by a file or by the API. Then it is found by its id, by its name, or because it is
// the only mesh gateway of this agent, is waited for if it is not there yet, and is
// never changed. Both ways it is in maintenance while the gateway drains, which the
// next start ends. A maintenance mode that an operator began, which has another
// reason, is the operator's to end.
//
// # Central configuration
//
// The agent merges the entry proxy-defaults into proxy.config, below what the
// definition itself has, and answers with the result (agent/service_manager.go in
// Consul's source); so it does for the xDS that an Envoy gets. A service-defaults
// entry adds nothing that matters to a mesh gateway. "consul connect envoy
// -no-central-config" keeps proxy.config out of the Envoy's bootstrap file; it has no
// way to tell central from own. Here the flag does what its name says: with -register
// the options are those of the definition, and without it those of the agent's answer
// less what proxy-defaults has with the same value. The agent may merge a change of that
// entry later than it is read here: so it is asked once more, two seconds after.
//
// # Trouble
//
// Nothing that the agent answers ends Run. What fails is tried again, with jittered
// back-off, and is logged when it begins, when it becomes something else and when it
// is over. To register again and again, because another gateway has the same id,
// takes longer each time.
package registration
