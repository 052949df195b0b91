package registration

import (
	"errors"
	"testing"
)

// TestRenew: what this process has registered is registered once more, and nothing
// else is.
func TestRenew(t *testing.T) {
	const register = "PUT /v1/agent/service/register"
	f := newFake(t)
	r, _ := registrar(t, f.client, flags(t, "-register"))
	must(t, r.Renew(t.Context()))
	if n := f.count(register); n != 0 {
		t.Errorf("%d registrations before the first", n)
	}
	start(t, r)
	before := f.count(register)
	must(t, r.Renew(t.Context()))
	if n := f.count(register) - before; n != 1 {
		t.Errorf("%d registrations", n)
	}
	f.failing(only(register, status(403, "Permission denied")))
	if err := r.Renew(t.Context()); err == nil {
		t.Error("no error of an agent that refuses")
	}
	f.failing(nil)

	found, _ := registrar(t, f.client, flags(t))
	start(t, found)
	before = f.count(register)
	must(t, found.Renew(t.Context()))
	if n := f.count(register) - before; n != 0 {
		t.Errorf("%d registrations of somebody else's service", n)
	}
}

// TestLeaveWhileStarting: a gateway that is to leave ends a Start that waits.
func TestLeaveWhileStarting(t *testing.T) {
	f := newFake(t)
	f.failing(only("GET /v1/agent/self", status(500, "no")))
	r, _ := registrar(t, f.client, flags(t, "-register"))
	ended := make(chan error, 1)
	go func() {
		_, err := r.Start(t.Context())
		ended <- err
	}()
	eventually(t, "a failure", func() bool { return r.Status().Err != nil })
	must(t, r.Deregister(t.Context()))
	if err := <-ended; !errors.Is(err, ErrLeaving) {
		t.Errorf("Start ended with %v", err)
	}
}
