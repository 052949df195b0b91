package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"sluice/scripts/show"
)

// request is what the client says to the service. The client ends the connection.
const request = "GET / HTTP/1.1\r\nHost: api\r\n\r\n"

// answer is what the client got.
type answer struct {
	peer string // SPIFFE URI in the certificate of whom it spoke to
	body string // the last line
}

// openssl is the command of a client of the mesh that calls api by way of a gateway.
func (s *site) openssl(via string) []string {
	return []string{
		"openssl", "s_client", "-connect", via, "-servername", s.roots.SNI("api", "dc2"),
		"-CAfile", s.file("roots.pem"), "-cert", s.file("web.pem"), "-key", s.file("web-key.pem"),
		"-verify_return_error", "-showcerts",
	}
}

// call calls api through the gateway at the address, as web.
func (s *site) call(ctx context.Context, via string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*show.Patience)
	defer cancel()
	args := s.openssl(via)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	// openssl goes on until its input ends, which it does when the answer is there.
	in, err := cmd.StdinPipe()
	if err != nil {
		return answer{}, err
	}
	defer in.Close()
	var errs strings.Builder
	out := &until{text: greeting, then: in.Close}
	cmd.Stdout, cmd.Stderr = out, &errs
	client := s.lab.NS("client")
	if err := client.Start(cmd); err != nil {
		return answer{}, err
	}
	// What is wrong with the input shows in the output.
	_, _ = io.WriteString(in, request)
	if err := cmd.Wait(); err != nil {
		return answer{}, fmt.Errorf("openssl: %w: %s", err, errs.String())
	}
	a, err := readAnswer(out.String())
	if err != nil {
		return a, fmt.Errorf("%w: openssl said: %s%s", err, out.String(), errs.String())
	}
	return a, nil
}

// until keeps what is written, and calls then once a text is in it.
type until struct {
	strings.Builder
	text string
	then func() error
}

func (u *until) Write(p []byte) (int, error) {
	n, err := u.Builder.Write(p)
	if u.then != nil && strings.Contains(u.String(), u.text) {
		err, u.then = u.then(), nil
	}
	return n, err
}

// readAnswer reads what "openssl s_client -showcerts" printed.
func readAnswer(out string) (answer, error) {
	block, _ := pem.Decode([]byte(out)) // the peer's comes first
	if block == nil {
		return answer{}, errors.New("no certificate of the service's")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return answer{}, err
	}
	a := answer{peer: uri(cert)}
	if !strings.Contains(out, "Verification: OK") {
		return a, errors.New("the service's certificate was not verified")
	}
	_, reply, ok := strings.Cut(out, "HTTP/1.1 200 OK\r\n")
	if !ok {
		return a, errors.New("no answer of the service's")
	}
	_, reply, _ = strings.Cut(reply, "\r\n\r\n")
	a.body, _, _ = strings.Cut(reply, "\n")
	return a, nil
}

// uri is the SPIFFE URI that a leaf certificate of the mesh has.
func uri(cert *x509.Certificate) string {
	if len(cert.URIs) != 1 {
		return ""
	}
	return cert.URIs[0].String()
}
