// Package explain answers two questions about a gateway's table: what becomes of a
// flow that asks for a server name, and what all routes are doing.
//
// Both go by Facts, which is what a gateway knows at one moment: the table, where it
// came from, the settings that count, and the counters of its routes. Nothing is asked
// of anybody, and nothing is changed; whoever reads the facts, from pinned maps or from
// an agent, gets the same answer for the same facts.
//
//	e := explain.Explain(&facts, "web.default.dc2")
//	if e.Refusal != nil {
//		fmt.Println(e.Refusal.Text, e.Refusal.Do)
//	}
//	chosen, err := explain.Choose(facts.Table, "web*")
//	rows := explain.Rows(&facts, chosen, nil)
//
// An Explanation takes the steps that a flow takes in package gateway, in that order,
// and goes on after a step that refuses, as far as the rest has a meaning: the first
// refusal is what a flow would get, and the steps after it are what comes next once
// that is mended.
//
// # Files
//
//	facts.go     what an explanation goes by
//	explain.go   the steps of a flow
//	complete.go  from what was typed to a server name
//	cluster.go   the cluster and its endpoints, taken or not
//	path.go      the path that a flow would get
//	leads.go     what kind of place a route leads to
//	unknown.go   why no route has a name
//	refusal.go   the refusals, each with what to do
//	near.go      names that may have been meant
//	name.go      the forms of server names that Consul makes
//	survey.go    what a table's names tell of the mesh
//	text.go      an explanation for people
//	rows.go      the routes and what they are doing
package explain
