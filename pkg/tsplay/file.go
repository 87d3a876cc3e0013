package tsplay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"time"
)

// Errors of Open.
var (
	ErrNotTS    = errors.New("the file is not a transport stream of 188-byte packets")
	ErrNoClock  = errors.New("the file has neither PCR nor PTS, so it has no pace")
	ErrSplitPES = errors.New("the file has a PES header that is split over packets, which is not supported")
)

// maxStep is how far a clock of the file may step ahead; what steps further, or back, is a splice in it.
const maxStep = 10 * ticksPerSecond * pcrPerTick

// file is what one pass over a TS file found.
type file struct {
	path    string
	packets int64
	length  int64 // ticks: by how much a loop advances the clocks
	pids    map[uint16]*pidInfo
	pace    []point
}

type pidInfo struct {
	hasCounter  bool
	first, last uint8 // continuity counters of packets with payload
	starts      int64 // PES with times
	video       bool
	firstTime   int64 // DTS, or PTS, of the first PES
	lastTime    int64 // unwrapped
	pace        []point
}

// point says when a packet is due.
type point struct {
	packet int64
	at     int64 // 27 MHz since the first point
}

// loopShift is what a whole loop adds to the continuity counter.
func (i *pidInfo) loopShift() uint8 { return (i.last + 1 - i.first) & 0x0F }

// span is the time from the first frame of the PID to the end of its last, in ticks.
func (i *pidInfo) span() int64 {
	if i.starts < 2 {
		return 0
	}
	n := i.starts - 1
	return ((i.lastTime-i.firstTime)*i.starts + n/2) / n
}

// scan reads the whole file once.
func scan(path string) (*file, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	f := &file{path: path, pids: make(map[uint16]*pidInfo)}
	clocks := make(map[uint16]*clockTrack)
	r := bufio.NewReaderSize(in, 1<<20)
	p := make(packet, packetSize)
	for {
		if _, err := io.ReadFull(r, p); err == io.EOF {
			break
		} else if err != nil && err != io.ErrUnexpectedEOF {
			return nil, err
		} else if err != nil || p[0] != syncByte {
			return nil, fmt.Errorf("%s, packet %d: %w", path, f.packets, ErrNotTS)
		}
		if err := f.take(p, clocks); err != nil {
			return nil, fmt.Errorf("%s, packet %d: %w", path, f.packets, err)
		}
		f.packets++
	}
	if err := f.settle(clocks); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// clockTrack follows one clock over the file and leaves splices out.
type clockTrack struct {
	raw    int64
	step   int64
	points []point
}

func (c *clockTrack) add(packet, raw, modulus int64) {
	if len(c.points) == 0 {
		c.raw = raw
		c.points = append(c.points, point{packet, 0})
		return
	}
	step := (raw - c.raw + modulus) % modulus
	if step > maxStep {
		step = c.step // a splice: go on as before
	}
	c.raw, c.step = raw, step
	c.points = append(c.points, point{packet, c.points[len(c.points)-1].at + step})
}

func (f *file) take(p packet, clocks map[uint16]*clockTrack) error {
	pid := p.pid()
	if pid == nullPID {
		return nil
	}
	i := f.pids[pid]
	if i == nil {
		i = &pidInfo{}
		f.pids[pid] = i
	}
	if p.hasPayload() {
		if !i.hasCounter {
			i.first, i.hasCounter = p.counter(), true
		}
		i.last = p.counter()
	}
	if b := p.pcrField(); b != nil {
		c := clocks[pid]
		if c == nil {
			c = &clockTrack{}
			clocks[pid] = c
		}
		c.add(f.packets, readPCR(b), wrap*pcrPerTick)
	}
	pts, dts, ok := p.timeFields()
	if !ok {
		return ErrSplitPES
	}
	if pts == nil {
		return nil
	}
	t := readTime(pts)
	if dts != nil {
		t = readTime(dts)
	}
	if i.starts == 0 {
		i.firstTime, i.lastTime = t, t
		i.video = videoID(p.payload()[3])
	}
	i.lastTime = max(i.lastTime, unwrapped(t, i.lastTime))
	i.starts++
	i.pace = append(i.pace, point{f.packets, max(i.lastTime-i.firstTime, 0) * pcrPerTick})
	return nil
}

// settle chooses the clock that sets the pace, and finds the length of a loop: the video's, or the longest track's.
func (f *file) settle(clocks map[uint16]*clockTrack) error {
	for _, c := range clocks {
		if len(c.points) > len(f.pace) || len(c.points) == len(f.pace) && c.points[0].packet < f.pace[0].packet {
			f.pace = c.points
		}
	}
	var reference *pidInfo
	for _, i := range f.pids {
		if i.starts < 2 {
			continue
		}
		if reference == nil || i.video && !reference.video || i.video == reference.video && i.span() > reference.span() {
			reference = i
		}
	}
	if reference != nil {
		f.length = reference.span()
		if len(f.pace) < 2 {
			f.pace = reference.pace
		}
	}
	if len(f.pace) < 2 || f.pace[len(f.pace)-1].at == 0 {
		return ErrNoClock
	}
	if covered := f.pace[len(f.pace)-1].at / pcrPerTick; f.length <= covered {
		// The clock runs past the frames, or there are none: the next loop follows after one more step of it.
		last, before := f.pace[len(f.pace)-1].at, f.pace[len(f.pace)-2].at
		f.length = covered + max((last-before)/pcrPerTick, 1)
	}
	for _, i := range f.pids {
		i.pace = nil
	}
	return nil
}

// due returns when packet n of a loop is to be sent, since the first packet of the file had its turn.
func (f *file) due(n int64) time.Duration {
	return time.Duration((f.at(n) - f.at(0)) * 1000 / 27)
}

// at is a packet's place on the clock, between the points beside it; before the first and after the last the loop is
// closed through the seam.
func (f *file) at(n int64) int64 {
	k := sort.Search(len(f.pace), func(i int) bool { return f.pace[i].packet > n })
	length := f.length * pcrPerTick
	last := len(f.pace) - 1
	var a, b point
	switch {
	case k == 0:
		a, b = f.pace[last], f.pace[0]
		a.packet -= f.packets
		a.at -= length
	case k > last:
		a, b = f.pace[last], f.pace[0]
		b.packet += f.packets
		b.at += length
	default:
		a, b = f.pace[k-1], f.pace[k]
	}
	return a.at + (b.at-a.at)*(n-a.packet)/(b.packet-a.packet)
}
