package main

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// sight knows whether the token sees all services that it saw at first. It is for one
// goroutine at a time.
type sight struct {
	agent *api.Client
	known bool // whether there were hidden ones at first
	short bool // there were
}

// hidden tells whether there are services that the token sees no more. What it never
// saw does not count.
func (s *sight) hidden(ctx context.Context) (bool, error) {
	// No service has this name; the agent looks at the rights before that.
	q := &api.QueryOptions{Filter: `ServiceName == ""`}
	_, meta, err := s.agent.Catalog().Services(q.WithContext(ctx))
	if err != nil {
		return false, fmt.Errorf("ask for the names of services: %w", err)
	}
	if !s.known {
		s.known, s.short = true, meta.ResultsFilteredByACLs
	}
	return meta.ResultsFilteredByACLs && !s.short, nil
}
