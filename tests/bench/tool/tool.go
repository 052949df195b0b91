// Package tool reads what other people's load generators print.
//
// iperf3 knows no TLS, so it is run with a small library before it (preload/hello.c) that puts
// a ClientHello at the beginning of each of its connections, by which proxies route it,
// and takes it off at the server: the bytes are moved by iperf3's own code. wrk speaks
// TLS itself; a script (wrk.lua) has it connect to the contender instead of to what the
// name in its URL means, and print its figures in one line.
package tool

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sluice/tests/bench/figure"
)

// Hello is the source, in C, of the library that iperf3 is run with.
//
//go:embed preload/hello.c
var Hello []byte

// Script is what wrk is run with, with BENCH_ADDRESS and BENCH_PORT of the contender in
// its environment.
//
//go:embed wrk.lua
var Script []byte

// Iperf reads what "iperf3 -J" printed. What counts is what the server received.
func Iperf(text []byte) (figure.Measured, error) {
	var out struct {
		Error string
		End   struct {
			Received struct {
				Seconds float64
				Bytes   uint64
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return figure.Measured{}, fmt.Errorf("iperf3's output: %w", err)
	}
	if out.Error != "" {
		return figure.Measured{}, fmt.Errorf("iperf3 says: %s", out.Error)
	}
	got := out.End.Received
	if got.Seconds <= 0 || got.Bytes == 0 {
		return figure.Measured{}, errors.New("iperf3's output: the server received nothing")
	}
	return figure.Measured{Seconds: got.Seconds, Bytes: got.Bytes}, nil
}

// Wrk reads the line that the script has wrk print among others. Any connection or
// request that failed is an error.
func Wrk(text string) (figure.Measured, error) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "bench ") {
			continue
		}
		var requests, failed uint64
		var us float64
		var t figure.Times
		_, err := fmt.Sscanf(line, "bench requests=%d us=%f failed=%d p50=%f p99=%f p999=%f",
			&requests, &us, &failed, &t.P50, &t.P99, &t.P999)
		switch {
		case err != nil:
			return figure.Measured{}, fmt.Errorf("wrk's output: line %q: %w", strings.TrimSpace(line), err)
		case failed > 0:
			return figure.Measured{}, fmt.Errorf("wrk: %d of %d requests failed", failed, requests+failed)
		case requests == 0 || us <= 0:
			return figure.Measured{}, errors.New("wrk: not one request was answered")
		}
		return figure.Measured{Seconds: us / 1e6, Exchanges: requests, Exchange: t}, nil
	}
	return figure.Measured{}, errors.New("wrk's output has no line of the script's")
}
