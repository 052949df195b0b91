package registration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/hashicorp/consul/api"
)

// code is the HTTP status that the agent answered with, 0 if that is not the error.
func code(err error) int {
	var s api.StatusError
	if errors.As(err, &s) {
		return s.Code
	}
	return 0
}

// isUnknown tells whether the agent said that it does not have the service. What else
// may be at its port says 404 too; the words are those of agent/agent_endpoint.go,
// agent/acl.go and agent/agent.go in Consul's source.
func isUnknown(err error) bool {
	var s api.StatusError
	if !errors.As(err, &s) || s.Code != http.StatusNotFound {
		return false
	}
	return strings.Contains(strings.ToLower(s.Body), "unknown service id") ||
		strings.Contains(s.Body, "No service registered with ID")
}

// isNoToken tells whether the agent said that it does not know the token.
func isNoToken(err error) bool {
	var s api.StatusError
	return errors.As(err, &s) && strings.Contains(s.Body, "ACL not found")
}

// sortOf is the same for errors of which one in the log is enough.
func sortOf(err error) string {
	var s api.StatusError
	var op *net.OpError
	switch {
	case errors.As(err, &s):
		return fmt.Sprint(s.Code, isUnknown(err), isNoToken(err))
	case errors.Is(err, errAbsent):
		return "absent"
	case errors.Is(err, errHangs):
		return "hangs"
	case notJSON(err):
		return "no JSON"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "not running"
	case errors.As(err, &op):
		return op.Op + " " + op.Err.Error() // without the port it came from
	}
	return err.Error()
}

// notJSON tells whether the answer was none of an agent, or half of one.
func notJSON(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, io.ErrUnexpectedEOF)
}

// advice is what is probably the matter, in words that say what to do; "" for what
// explains itself.
func (r *Registrar) advice(err error) string {
	var s api.StatusError
	switch {
	case errors.Is(err, errAbsent):
		return "give -register, or tell the agent of a service of kind mesh-gateway"
	case errors.Is(err, errHangs):
		return "the agent hangs, or has no leader to ask"
	case notJSON(err):
		return "the agent stopped, or it is no Consul agent that answers at this address"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the agent is not running, or -http-addr is wrong"
	case !errors.As(err, &s):
		return ""
	}
	switch {
	case isNoToken(err):
		return "the agent does not know the token: it is wrong, expired or deleted, or too new for the agent"
	case s.Code == http.StatusForbidden && r.settings.Register:
		return fmt.Sprintf("the token lacks service:write for %q", r.settings.name())
	case s.Code == http.StatusForbidden:
		return "the token lacks service:read for the gateway's service, or service:write for its maintenance"
	case s.Code == http.StatusTooManyRequests:
		return "this host has as many connections to the agent as limits.http_max_conns_per_client allows"
	case s.Code == http.StatusBadRequest && strings.Contains(s.Body, "HTTP request to an HTTPS server"):
		return "the agent's port wants HTTPS"
	case strings.Contains(s.Body, "No cluster leader"), strings.Contains(s.Body, "No known Consul servers"):
		return "the agent has no server to ask; one that has just started soon will"
	case s.Code >= 500:
		return "the agent failed; its log knows more"
	case s.Code == http.StatusNotFound:
		return "it is no Consul agent that answers at this address"
	}
	return ""
}

func (r *Registrar) explained(err error) error {
	if a := r.advice(err); a != "" {
		return fmt.Errorf("%w (%s)", briefError{err}, a)
	}
	return err
}

// briefError is an error whose text has no page of HTML in it.
type briefError struct{ error }

func (b briefError) Unwrap() error { return b.error }
func (b briefError) Error() string { return briefly(b.error) }

// briefly is an error's text in one line of bearable length.
func briefly(err error) string {
	const most = 300
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// repairAdvice is why a service had to be registered so often.
func repairAdvice(times int) string {
	if times < 3 {
		return "the agent was restarted without its data, or somebody deregistered or registered it"
	}
	return "another gateway has the same id: give each its own -proxy-id"
}
