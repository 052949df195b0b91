package admin

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sluice/userspace/admission"
	"sluice/userspace/gateway"
)

// largestAnswer is in bytes, a list of flows apart.
const largestAnswer = 16 << 20

// Client asks the agent at a socket. Its errors tell whom they are of, and unwrap to
// ErrNoAgent when nobody answers.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns one for the socket at this path. It connects when it is first used.
func NewClient(socket string) *Client {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return &Client{socket: socket, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		ResponseHeaderTimeout: answerTime + 5*time.Second,
		DisableCompression:    true,
	}}}
}

// Close gives up the connection, if there is one.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks how the agent stands.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := new(Status)
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, s)
}

// Source asks what would become of a flow from an address.
func (c *Client) Source(ctx context.Context, address netip.Addr) (*admission.Standing, error) {
	s := new(admission.Standing)
	return s, c.call(ctx, http.MethodGet, "/v1/source?"+url.Values{"address": {address.String()}}.Encode(), nil, s)
}

// Kill resets flows, and tells how many.
func (c *Client) Kill(ctx context.Context, which gateway.Selection) (int, error) {
	var k Killed
	err := c.call(ctx, http.MethodPost, "/v1/kill", which, &k)
	return k.Killed, err
}

// Drain has the agent drain, and does not wait for that. A deadline of 0 is the agent's
// own.
func (c *Client) Drain(ctx context.Context, deadline time.Duration) error {
	var d Drain
	if deadline > 0 {
		d.Deadline = deadline.String()
	}
	return c.call(ctx, http.MethodPost, "/v1/drain", d, new(struct{}))
}

// Reload has the agent read and open things again, and tells what.
func (c *Client) Reload(ctx context.Context) (string, error) {
	var r Reloaded
	err := c.call(ctx, http.MethodPost, "/v1/reload", nil, &r)
	return r.Done, err
}

// SetPolicy overrules the options of a route, or clears that when nothing of it is set.
func (c *Client) SetPolicy(ctx context.Context, p Policy) error {
	return c.call(ctx, http.MethodPost, "/v1/policy", p, new(struct{}))
}

// Flows returns the flows of the selection in an order.
func (c *Client) Flows(ctx context.Context, which gateway.Selection, order Order) ([]*Flow, error) {
	list := []*Flow{}
	err := c.EachFlow(ctx, which, order, func(f *Flow) error {
		list = append(list, f)
		return nil
	})
	return order.Sort(list), err
}

// EachFlow calls yield with each flow of the selection, as they come, and stops at its
// first error. Only with a limit do they come in order. They are yield's to keep.
func (c *Client) EachFlow(ctx context.Context, which gateway.Selection, order Order, yield func(*Flow) error) error {
	q := url.Values{}
	if which.ID != 0 {
		q.Set("id", strconv.FormatUint(which.ID, 10))
	}
	if which.Route != "" {
		q.Set("route", which.Route)
	}
	if which.Source.IsValid() {
		q.Set("source", which.Source.String())
	}
	if order.Limit > 0 {
		q.Set("sort", cmp.Or(order.By, "id"))
		q.Set("limit", strconv.Itoa(order.Limit))
	}
	answer, err := c.send(ctx, http.MethodGet, "/v1/flows?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	for in := json.NewDecoder(bufio.NewReaderSize(answer.Body, 64<<10)); ; {
		var line struct {
			Flow
			failure
		}
		err := in.Decode(&line)
		if err == io.EOF {
			return nil
		}
		if err == nil && line.Error != "" {
			err = errors.New(line.Error)
		}
		if err != nil {
			return fmt.Errorf("the agent at %s did not tell of all flows: %w", c.socket, err)
		}
		if err := yield(&line.Flow); err != nil {
			return err
		}
	}
}

// call sends in, nil for nothing, and reads the answer into out.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("write a request for the agent: %w", err)
		}
	}
	answer, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, largestAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read the answer of the agent at %s: %w", c.socket, err)
	}
	return nil
}

// send returns an answer that tells of no failure.
func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make a request for the agent: %w", err)
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	var f failure
	if err := json.NewDecoder(io.LimitReader(answer.Body, largestAnswer)).Decode(&f); err != nil || f.Error == "" {
		return nil, fmt.Errorf("the agent at %s answers %s: is it of another version?", c.socket, answer.Status)
	}
	return nil, fmt.Errorf("the agent says: %s", f.Error)
}

// explain says what an error of the connection means.
func (c *Client) explain(err error) error {
	// The URL of it would tell nothing.
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w at %s: is it running?", ErrNoAgent, c.socket)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("no right to ask the agent at %s: it is for root and the group of that socket", c.socket)
	}
	return fmt.Errorf("ask the agent at %s: %w", c.socket, err)
}
