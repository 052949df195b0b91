// Package admin is how a running gateway is asked and told things on its own host: the
// agent's socket, and the client for it.
//
// The socket is a unix one that only root and one group may open. It speaks HTTP with
// JSON, so that curl can ask too:
//
//	GET  /v1/status        Status
//	GET  /v1/flows         Flow, one on each line; ?id=, ?route= and ?source= select,
//	                       and ?sort= and ?limit= cut the list short
//	GET  /v1/source        an admission.Standing, of the ?address=
//	POST /v1/kill          a gateway.Selection, not an empty one; answers Killed
//	POST /v1/drain         Drain
//	POST /v1/reload        nothing; answers Reloaded
//	POST /v1/policy        Policy
//
// What fails is answered by an object with an "error", whatever its status, and so ends
// a list of flows that cannot be gone on with.
//
// Nothing that is asked for here may keep the gateway from its work: requests are few at
// a time, small, and bounded in time.
package admin

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"time"

	"sluice/userspace/admission"
	"sluice/userspace/gateway"
	"sluice/userspace/route"
)

// Directory is where the sockets are, unless told otherwise.
const Directory = "/run/sluice"

// SocketOf is the usual path of an instance's socket.
func SocketOf(instance string) string { return filepath.Join(Directory, instance+".sock") }

var (
	// ErrInUse is for a socket that another agent answers at.
	ErrInUse = errors.New("another agent answers there")
	// ErrNoAgent is for a socket that nobody answers at.
	ErrNoAgent = errors.New("no agent answers")
)

// Agent is what the socket leads to. Its methods are called by several goroutines at a
// time, and must come back soon after ctx is done.
type Agent interface {
	Status(ctx context.Context) (*Status, error)
	// Flows calls yield with each flow of the selection, in no order, and returns its
	// error. Each is a Flow of its own.
	Flows(ctx context.Context, which gateway.Selection, yield func(*Flow) error) error
	// Source tells what would become of a flow from there.
	Source(ctx context.Context, address netip.Addr) (*admission.Standing, error)
	// Kill resets flows and tells how many.
	Kill(ctx context.Context, which gateway.Selection) (int, error)
	// Drain begins to drain, and does not wait for its end. A deadline of 0 is the
	// agent's own.
	Drain(ctx context.Context, deadline time.Duration) error
	// Reload tells what it has done.
	Reload(ctx context.Context) (string, error)
	// SetPolicy overrules the options of a route until further notice. Options that are
	// not set are as the route has them, so that setting none clears the policy.
	SetPolicy(ctx context.Context, name string, o route.Options) error
}

// Policy is what an operator sets for a route.
type Policy struct {
	Route    string `json:"route"`               // its own name, such as "*.x"
	Path     string `json:"path,omitempty"`      // "": as the route has it
	Credit   int    `json:"credit,omitempty"`    // bytes; 0: as the route has it
	MaxFlows int    `json:"max_flows,omitempty"` // at one time; 0: as the route has it
}

func (p Policy) options() route.Options {
	return route.Options{Path: p.Path, Credit: p.Credit, MaxFlows: p.MaxFlows}
}

// Status is how an agent stands. Durations are in seconds.
type Status struct {
	Version   string           `json:"version"`
	PID       int              `json:"pid"`
	Instance  string           `json:"instance"`
	State     string           `json:"state"`         // "ready", or why it is not; Silent
	Why       string           `json:"why,omitempty"` // it is Silent
	Started   time.Time        `json:"started,omitzero"`
	Uptime    float64          `json:"uptime"`
	Kernel    string           `json:"kernel"`
	Table     *Table           `json:"table"` // nil: none yet
	Listeners []netip.AddrPort `json:"listeners"`
	Paths     []Path           `json:"paths"`
	Maps      []Fill           `json:"maps"`
	Settings  Settings         `json:"settings"`
	Flows     int              `json:"flows"`    // now
	Begun     uint64           `json:"begun"`    // flows since the start
	Sent      uint64           `json:"sent"`     // bytes to upstreams since the start
	Received  uint64           `json:"received"` // and from them
	Rates     Rates            `json:"rates"`
	Errors    []Problem        `json:"errors"` // the last ones, the oldest first
}

// Silent is the state of an agent that does not answer. Such a Status is not the
// agent's: it has what its maps tell, and is of the time when they were written.
const Silent = "does not answer"

// Settings are those of the agent that count for flows of any route. 0 is no limit.
type Settings struct {
	MaxFlows        int     `json:"max_flows"`
	MaxPerRoute     int     `json:"max_flows_per_route"` // of routes without their own
	ConnectTimeout  float64 `json:"connect_timeout"`     // of clusters without their own
	ConnectAttempts int     `json:"connect_attempts"`    // endpoints to try
	MaxTableAge     float64 `json:"max_table_age"`       // that a source may be away
	Path            string  `json:"path,omitempty"`      // of routes that name none; "": auto
}

// Table is the routing table in use.
type Table struct {
	Version   uint64    `json:"version"`
	Source    string    `json:"source"`
	Index     string    `json:"index,omitempty"` // what the source calls the state that the table is of
	Age       float64   `json:"age"`             // seconds
	Routes    int       `json:"routes"`
	Clusters  int       `json:"clusters"`
	Connected bool      `json:"connected"`      // its source can be asked
	Since     time.Time `json:"since,omitzero"` // it is so, if known
	Kept      int       `json:"kept"`           // clusters that stay though the source has lost them
}

// Path is a way for flows' bytes.
type Path struct {
	Name string `json:"name"`
	On   bool   `json:"on"`            // new flows may take it
	Why  string `json:"why,omitempty"` // not
}

// Fill is how full a map in the kernel is.
type Fill struct {
	Name string `json:"name"`
	Used int    `json:"used"`
	Max  int    `json:"max"`
}

// Rates are by the second, as measured while the status was asked for.
type Rates struct {
	Flows    float64 `json:"flows"` // begun
	Sent     float64 `json:"sent"`  // bytes
	Received float64 `json:"received"`
}

// Problem is a line of the log that tells of one.
type Problem struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// Flow is a connection through the gateway. In its JSON, what is zero more often than
// not is left out then: a list of thousands is read in half the time.
type Flow struct {
	ID           uint64         `json:"id"`
	Source       netip.AddrPort `json:"source"` // who it is from: the peer, or whom its PROXY header names
	Peer         netip.AddrPort `json:"peer"`
	Local        netip.AddrPort `json:"local"` // the gateway's own address, towards the peer
	SNI          string         `json:"sni,omitempty"`
	Route        string         `json:"route,omitempty"`
	Cluster      string         `json:"cluster,omitempty"`
	Endpoint     string         `json:"endpoint,omitempty"` // as the table names it
	From         netip.AddrPort `json:"from,omitzero"`      // the gateway's own address, towards upstream
	Upstream     netip.AddrPort `json:"upstream,omitzero"`
	Path         string         `json:"path,omitempty"`
	State        string         `json:"state"`               // hello, connecting, carried or refusing
	Refused      string         `json:"refused,omitempty"`   // why
	Sent         uint64         `json:"sent"`                // bytes to upstream
	Received     uint64         `json:"received"`            // and from there
	SentRate     float64        `json:"sent_rate,omitempty"` // bytes a second, as measured while flows were asked for
	ReceivedRate float64        `json:"received_rate,omitempty"`
	Start        time.Time      `json:"start"`
	Active       time.Time      `json:"active"`                   // when it last moved a byte
	Downstream   *TCP           `json:"downstream_tcp,omitempty"` // the socket towards the peer
	UpstreamTCP  *TCP           `json:"upstream_tcp,omitempty"`   // and the one towards upstream
}

// TCP is what the kernel tells of one of a flow's sockets.
type TCP struct {
	State       string  `json:"state"`
	RTT         float64 `json:"rtt"`                   // seconds, smoothed
	Cwnd        uint32  `json:"cwnd"`                  // segments
	Retransmits uint32  `json:"retransmits,omitempty"` // segments, since it was opened
	Unacked     uint32  `json:"unacked,omitempty"`     // segments
	NotSent     uint32  `json:"notsent,omitempty"`     // bytes
}

// Killed tells how many flows were reset.
type Killed struct {
	Killed int `json:"killed"`
}

// Drain asks for a drain.
type Drain struct {
	Deadline string `json:"deadline,omitempty"` // such as "30s", after which flows are reset; "": the agent's own
}

// Reloaded tells what was read or opened again.
type Reloaded struct {
	Done string `json:"done"`
}

// failure is the answer to what fails.
type failure struct {
	Error string `json:"error"`
}
