package main

import (
	"fmt"
	"os"
	"strings"
)

// busy is the time that all processors together have worked since the start, in
// seconds, the kernel's own work for nobody in particular included.
func busy() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read what the processors did: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var user, nice, system, idle, iowait, irq, softirq float64
	if _, err := fmt.Sscanf(line, "cpu %f %f %f %f %f %f %f", &user, &nice, &system, &idle, &iowait, &irq, &softirq); err != nil {
		return 0, fmt.Errorf("read %q: %w", line, err)
	}
	const tick = 100 // USER_HZ, the same everywhere
	return (user + nice + system + irq + softirq) / tick, nil
}
