package demo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a child whose output goes to a file.
type process struct {
	name   string
	log    string
	cmd    *exec.Cmd
	done   chan struct{} // closed when it has ended
	err    error         // then: how
	wanted atomic.Bool   // we ended it
}

func start(name, log, program string, args ...string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: log, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the child dies with the thread that started it
		defer runtime.UnlockOSThread()
		defer f.Close()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// end sends a signal and waits for the end; what does not end in time is killed.
func (p *process) end(sig syscall.Signal, grace time.Duration) {
	p.wanted.Store(true)
	p.cmd.Process.Signal(sig) //nolint:errcheck // it may have ended
	select {
	case <-p.done:
	case <-time.After(grace):
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.done
	}
}

// failed gives an error when the process has ended by itself, with the last lines that it wrote.
func (p *process) failed() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	if p.wanted.Load() {
		return nil
	}
	cause := p.err
	if cause == nil {
		cause = errors.New("exit status 0")
	}
	return fmt.Errorf("%s ended by itself (%w); it wrote:\n%s", p.name, cause, tail(p.log, 12))
}

func tail(file string, lines int) []byte {
	b, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	all := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return bytes.Join(all[max(0, len(all)-lines):], []byte("\n"))
}
