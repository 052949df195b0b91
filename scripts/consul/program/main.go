// Command program prints where the Consul is that the tests and the lab use, and
// builds it first if there is none, so that no test waits for that unseen.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"sluice/scripts/consul"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	path, err := consul.Binary(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "consul:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
