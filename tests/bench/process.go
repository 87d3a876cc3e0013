package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dontWait makes a read of an empty socket return at once.
const dontWait = unix.MSG_DONTWAIT

// clockTick is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// process is one child that is measured.
type process struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr bytes.Buffer
	done   chan struct{}
}

func start(ctx context.Context, env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, name, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // its end is not the measurement; usage says when it came too early
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// usage is what the kernel has accounted to a process so far.
type usage struct {
	cpu  time.Duration
	rss  int64 // bytes now, without file
	file int64 // bytes now that are pages of files: of the program
}

func (p *process) usage() (usage, error) {
	select {
	case <-p.done:
		return usage{}, fmt.Errorf("%s ended early: %s", p.cmd.Path, strings.TrimSpace(p.stderr.String()))
	default:
	}
	return readUsage(p.cmd.Process.Pid)
}

// readUsage reads fields 14, 15 (utime, stime) and 24 (rss) of /proc/PID/stat, and RssFile of /proc/PID/status.
func readUsage(pid int) (usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	_, rest, ok := strings.Cut(string(b), ") ") // the name may hold blanks
	f := strings.Fields(rest)
	if !ok || len(f) < 22 {
		return usage{}, fmt.Errorf("read /proc/%d/stat: %d fields after the name", pid, len(f))
	}
	ut, err1 := strconv.ParseInt(f[11], 10, 64)
	st, err2 := strconv.ParseInt(f[12], 10, 64)
	rss, err3 := strconv.ParseInt(f[21], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return usage{}, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
	}
	if b, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err != nil {
		return usage{}, err
	}
	var file int64
	_, rest, ok = strings.Cut(string(b), "RssFile:")
	if _, err := fmt.Sscan(rest, &file); !ok || err != nil {
		return usage{}, fmt.Errorf("read /proc/%d/status: no RssFile", pid)
	}
	file <<= 10
	return usage{cpu: time.Duration(ut+st) * clockTick, rss: rss*int64(os.Getpagesize()) - file, file: file}, nil
}
