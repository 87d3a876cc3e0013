package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/tsplay"
)

const (
	// spread is over how much time the streams are shifted against each other: sources do not begin their segments together.
	spread = 5800 * time.Millisecond
	// atOnce messages are handed to the kernel by one system call, or what has gathered for sendEvery.
	atOnce    = 512
	sendEvery = 4 * time.Millisecond
)

// sent is what a source tells at its end.
type sent struct {
	Pace   float64 // what was sent of what the clip has for that time: less than 1 where the source itself was held up
	Unsent uint64  // datagrams
}

// sourceChild plays a clip to each port until ctx ends, and prints what it sent.
func sourceChild(ctx context.Context, clip string, args []string) error {
	ports, err := parsePorts(args)
	if err != nil {
		return err
	}
	info, err := os.Stat(clip)
	if err != nil {
		return err
	}
	f, err := newFan(ports)
	if err != nil {
		return err
	}
	player, err := tsplay.Open(clip, tsplay.Options{Loop: true, To: []io.Writer{f}})
	if err != nil {
		return err
	}
	perSecond := float64(info.Size()) / datagramSize / player.Length().Seconds()
	f.shift(int(perSecond * spread.Seconds()))
	// It stands for machines elsewhere, so what is measured should not hold it up. Where that is not permitted, Pace tells.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -15)
	began := time.Now()
	if err := player.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	pace := float64(player.Stats().Datagrams) / (perSecond * time.Since(began).Seconds())
	return json.NewEncoder(os.Stdout).Encode(sent{Pace: pace, Unsent: f.unsent})
}

const datagramSize = 7 * 188

// fan sends each datagram to many ports, to each at a time of its own: every port gets the whole stream, with a delay. It
// keeps the datagrams that some port has yet to get, so that they are made once and sent from where they lie.
type fan struct {
	fd     int
	delays []int // of each port, in datagrams
	n      int   // datagrams so far
	kept   [][]byte
	to     []unix.RawSockaddrInet4

	headers []mmsghdr
	vectors []unix.Iovec
	queued  int
	flushed time.Time
	unsent  uint64
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

func newFan(ports []int) (*fan, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the source's socket: %w", err)
	}
	size := atOnce + len(ports)
	f := &fan{
		fd: fd, delays: make([]int, len(ports)), to: make([]unix.RawSockaddrInet4, len(ports)), flushed: time.Now(),
		headers: make([]mmsghdr, size), vectors: make([]unix.Iovec, size),
	}
	for i, p := range ports {
		f.to[i] = unix.RawSockaddrInet4{
			Family: unix.AF_INET, Port: uint16(p)>>8 | uint16(p)<<8, Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1}).As4(),
		}
	}
	for i := range f.headers {
		h := &f.headers[i].hdr
		h.Iov = &f.vectors[i]
		h.SetIovlen(1)
		h.Namelen = unix.SizeofSockaddrInet4
	}
	f.shift(0)
	return f, nil
}

// shift spreads the ports evenly over so many datagrams.
func (f *fan) shift(over int) {
	for i := range f.delays {
		f.delays[i] = over * i / len(f.delays)
	}
	f.kept = make([][]byte, over+atOnce+1)
}

// Write implements io.Writer.
func (f *fan) Write(b []byte) (int, error) {
	slot := f.n % len(f.kept)
	f.kept[slot] = append(f.kept[slot][:0], b...)
	for i, delay := range f.delays {
		at := f.n - delay
		if at < 0 {
			break // so do all after it
		}
		d := f.kept[at%len(f.kept)]
		f.vectors[f.queued].Base = &d[0]
		f.vectors[f.queued].SetLen(len(d))
		f.headers[f.queued].hdr.Name = (*byte)(unsafe.Pointer(&f.to[i]))
		f.queued++
	}
	f.n++
	if now := time.Now(); f.queued >= atOnce || now.Sub(f.flushed) >= sendEvery {
		f.flushed = now
		f.flush()
	}
	return len(b), nil
}

func (f *fan) flush() {
	for at := 0; at < f.queued; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(f.fd), uintptr(unsafe.Pointer(&f.headers[at])),
			uintptr(f.queued-at), 0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			f.unsent++
			at++
		default:
			at += int(n)
		}
	}
	runtime.KeepAlive(f)
	f.queued = 0
}

// source is a running sourceChild.
type source struct{ *process }

// startSource plays the clip to the ports.
func startSource(ctx context.Context, clip string, ports []int) (source, error) {
	self, err := os.Executable()
	if err != nil {
		return source{}, err
	}
	p, err := start(ctx, []string{sourceEnv + "=" + clip}, self, portArgs(ports)...)
	return source{p}, err
}

// end stops it and says what it sent.
func (s source) end() (sent, error) {
	s.stop()
	var st sent
	if err := json.Unmarshal(s.stdout.Bytes(), &st); err != nil {
		return st, fmt.Errorf("read what the source sent: %w: %s", err, strings.TrimSpace(s.stderr.String()))
	}
	return st, nil
}

func parsePorts(args []string) ([]int, error) {
	ports := make([]int, len(args))
	for i, a := range args {
		var err error
		if ports[i], err = strconv.Atoi(a); err != nil {
			return nil, fmt.Errorf("read port: %w", err)
		}
	}
	return ports, nil
}

func portArgs(ports []int) []string {
	args := make([]string, len(ports))
	for i, p := range ports {
		args[i] = strconv.Itoa(p)
	}
	return args
}
