package sni

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/userspace/flow"
)

func TestRefusals(t *testing.T) {
	tests := []struct {
		refusal Refusal
		end     flow.End // has the same name in logs
		alert   byte     // 0: none
	}{
		{NotTLS, flow.NotTLS, 0},
		{BadHello, flow.BadHello, AlertDecodeError},
		{BadVersion, flow.BadVersion, AlertProtocolVersion},
		{TooLarge, flow.HelloTooLarge, AlertRecordOverflow},
		{NoName, flow.NoServerName, AlertMissingExtension},
	}
	for _, tt := range tests {
		if got, want := tt.refusal.String(), tt.end.String(); got != want {
			t.Errorf("name %q, want %q", got, want)
		}
		if code, ok := tt.refusal.Alert(); code != tt.alert || ok != (tt.alert != 0) {
			t.Errorf("%v: alert %d, %v; want %d", tt.refusal, code, ok, tt.alert)
		}
	}
	if code, ok := None.Alert(); code != 0 || ok || None.String() != "none" {
		t.Errorf("None: alert %d, %v, name %q", code, ok, None)
	}
	if got := Refusal(200).String(); got != "unknown" {
		t.Errorf("Refusal(200) is %q", got)
	}
}

func TestAppendAlert(t *testing.T) {
	got := AppendAlert([]byte("x"), AlertUnrecognizedName)
	if diff := cmp.Diff([]byte("x\x15\x03\x01\x00\x02\x02\x70"), got); diff != "" {
		t.Error(diff)
	}
}

// Go's client takes every alert for what it is. Other clients: TestClients.
func TestAlertsAreUnderstood(t *testing.T) {
	for _, code := range []byte{
		AlertRecordOverflow, AlertHandshakeFailure, AlertAccessDenied, AlertDecodeError,
		AlertProtocolVersion, AlertInternalError, AlertMissingExtension, AlertUnrecognizedName,
	} {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			buf := make([]byte, DefaultMax)
			if _, err := server.Read(buf); err != nil {
				t.Errorf("reading the hello: %v", err)
			}
			if _, err := server.Write(AppendAlert(nil, code)); err != nil {
				t.Errorf("writing alert %d: %v", code, err)
			}
		}()
		err := tls.Client(client, &tls.Config{ServerName: "a.b"}).Handshake()
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "remote error" || op.Err.Error() != tls.AlertError(code).Error() {
			t.Errorf("alert %d: %v", code, err)
		}
		client.Close()
	}
}
