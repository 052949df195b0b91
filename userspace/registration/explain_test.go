package registration

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// TestBriefly has pages of HTML fit into a line of the log.
func TestBriefly(t *testing.T) {
	page := api.StatusError{Code: 502, Body: "<html>\n" + strings.Repeat("<p>ä</p>\n", 1000)}
	got := briefly(fmt.Errorf("read: %w", page))
	if strings.Contains(got, "\n") || len(got) > 310 || !strings.Contains(got, "502") || !strings.HasSuffix(got, "...") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	r := &Registrar{}
	err := r.explained(fmt.Errorf("read: %w", page))
	if len(err.Error()) > 400 || code(err) != 502 || !strings.Contains(err.Error(), "its log knows more") {
		t.Errorf("%v", err)
	}
}

// TestSortOf has errors that differ in what does not matter be one, and others not.
func TestSortOf(t *testing.T) {
	dial := func(port int, err error) error {
		return fmt.Errorf("read: %w", &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{Port: port}, Err: err})
	}
	status := func(code int, body string) error {
		return fmt.Errorf("read: %w", api.StatusError{Code: code, Body: body})
	}
	for _, same := range [][2]error{
		{dial(1, syscall.ECONNREFUSED), dial(2, syscall.ECONNREFUSED)},
		{dial(1, syscall.EHOSTUNREACH), dial(2, syscall.EHOSTUNREACH)},
		{status(500, "a"), status(500, "b")},
	} {
		if sortOf(same[0]) != sortOf(same[1]) {
			t.Errorf("%v and %v are not one", same[0], same[1])
		}
	}
	seen := map[string]error{}
	for _, err := range []error{
		dial(1, syscall.ECONNREFUSED), dial(1, syscall.EHOSTUNREACH), status(500, ""), status(403, "Permission denied"),
		status(403, "ACL not found"), status(404, "unknown service ID: x"), status(404, "page not found"),
		errHangs, errAbsent, errors.New("else"),
	} {
		if before := seen[sortOf(err)]; before != nil {
			t.Errorf("%v and %v are one", before, err)
		}
		seen[sortOf(err)] = err
	}
}

func TestAdvice(t *testing.T) {
	own, others := &Registrar{settings: Settings{Register: true, Service: "gate"}}, &Registrar{}
	denied := api.StatusError{Code: 403, Body: "Permission denied"}
	for got, want := range map[string]string{
		own.advice(denied):                         `service:write for "gate"`,
		others.advice(denied):                      "service:read",
		own.advice(errors.New("x")):                "",
		own.advice(api.StatusError{Code: 400}):     "",
		own.advice(fmt.Errorf("x: %w", errAbsent)): "-register",
	} {
		if !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if own.explained(errors.ErrUnsupported) != errors.ErrUnsupported {
		t.Error("an explanation from nowhere")
	}
}

func TestBackoff(t *testing.T) {
	for turn := range 100 {
		d := backoff(time.Millisecond, time.Second, turn)
		longest := time.Second
		if turn < 10 {
			longest = time.Millisecond << turn
		}
		if d < longest/2 || d > longest {
			t.Errorf("turn %d: %v", turn, d)
		}
	}
}
