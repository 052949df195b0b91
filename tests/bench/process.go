package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"sluice/scripts/lab"
	"sluice/tests/bench/figure"
)

// roleVariable, in the environment, has this program play a part in a process of its
// own.
const roleVariable = "SLUICE_BENCH_ROLE"

func role(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// play runs this process's part, if it has one.
func play(args []string) (bool, error) {
	switch name := os.Getenv(roleVariable); name {
	case "":
		return false, nil
	case "server":
		return true, serve(args[0], args[1])
	case "copy":
		return true, copyProxy(args[0], args[1:])
	case "hold":
		if err := hold(args[0]); err != nil {
			fmt.Println("failed:", err) // to who started it, and puts it into the results
		}
		return true, nil
	case "client":
		var o order
		if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
			return true, err
		}
		m, err := o.run()
		if err != nil {
			return true, err
		}
		return true, json.NewEncoder(os.Stdout).Encode(m)
	default:
		return true, fmt.Errorf("no part is called %q", name)
	}
}

// start starts a part that says when it is ready.
func start(ns *lab.Namespace, name string, args ...string) (*exec.Cmd, error) {
	cmd := role(name, args...)
	// A standard input that stays open: one that is /dev/null would end a part that
	// waits for its end.
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := ns.Start(cmd); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, errors.Join(err, cmd.Wait()))
	}
	if !strings.HasPrefix(line, "serving") {
		return nil, fmt.Errorf("start the %s: %s", name, strings.TrimSpace(line))
	}
	return cmd, nil
}

// load runs our own client.
func (s *site) load(o order) (figure.Measured, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return figure.Measured{}, err
	}
	cmd := role("client", string(text))
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := s.client.Run(cmd); err != nil {
		return figure.Measured{}, fmt.Errorf("client: %w: %s", err, strings.TrimSpace(errs.String()))
	}
	var m figure.Measured
	if err := json.Unmarshal([]byte(out.String()), &m); err != nil {
		return figure.Measured{}, fmt.Errorf("client: %w", err)
	}
	return m, nil
}
