package tests

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"sluice/tests/harness"
)

// TestSoak sends flows of random shapes through the same gateways, round after round
// in changing weather, for as long as the environment's SOAK says. After each round,
// every flow must be in the logs, and nothing left of it. SOAK_SEED repeats a run.
func TestSoak(t *testing.T) {
	span, seed := 2*time.Second, rand.Uint64()
	if text := os.Getenv("SOAK"); text != "" {
		d, err := time.ParseDuration(text)
		harness.Must(t, err)
		span = d
	}
	if text := os.Getenv("SOAK_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		harness.Must(t, err)
		seed = n
	}
	eachPath(t, []layout{twoHops}, func(t *testing.T, s *site) {
		t.Logf("SOAK_SEED=%d", seed)
		s.anyPath = true // a client that has ended already is not for every path
		numbers := rand.New(rand.NewPCG(seed, 0))
		before := s.descriptors()
		weather := [][]disorder{
			{},
			{s.loss(0.5)},
			{s.reordering(1)},
			{s.duplicates(1)},
			{s.loss(0.2), s.reordering(0.5), s.duplicates(0.5)},
		}
		if !s.wired() {
			clear(weather)
		}
		rounds := 0
		for end := time.Now().Add(span); rounds < len(weather) || time.Now().Before(end); rounds++ {
			s.soak(t, numbers, weather[rounds%len(weather)])
			s.wantNothingLeft(t, before)
			if t.Failed() {
				break
			}
			for _, g := range s.gateways {
				g.Rotate()
			}
		}
		t.Logf("%d rounds of %d flows", rounds, soakFlows)
	})
}

const soakFlows = 64 // at a time

// soak is one round.
func (s *site) soak(t *testing.T, numbers *rand.Rand, weather []disorder) {
	t.Helper()
	harness.Must(t, s.Offloads(len(weather) == 0))
	rules := lay(t, weather)
	work := []func() error{func() error {
		return s.serve(soakFlows, func(c end) error {
			number := make([]byte, 8)
			if err := s.readHello(c); err != nil {
				return err
			}
			if _, err := io.ReadFull(c, number); err != nil {
				return err
			}
			return newShape(binary.BigEndian.Uint64(number)).play(c)
		})
	}}
	var want []volume
	for range soakFlows {
		number := numbers.Uint64()
		shape := newShape(number)
		work = append(work, func() error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write(binary.BigEndian.AppendUint64(slices.Clone(s.hello), number))
			if err = errors.Join(err, shape.play(end{c, 1})); err != nil {
				return fmt.Errorf("%+v: %w", shape, err)
			}
			return nil
		})
		if shape.quitter != 0 {
			want = append(want, volume{Reason: end{seed: shape.quitter}.resetReason()})
		} else {
			want = append(want, s.closed(8+shape.total(1), shape.total(2)))
		}
	}
	harness.All(t, work...)
	if len(rules) > 0 {
		wantMet(t, rules)
	}
	s.wantVolumes(t, want)
}
