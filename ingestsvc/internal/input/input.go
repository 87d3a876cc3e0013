package input

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/ingestsvc/internal/record"
	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
	"github.com/twinreel/twinreel/ingestsvc/internal/udp"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

const (
	// A socket that fails is opened again: at first soon, for the port may be held by a process that is about to end.
	firstReopen, lastReopen = 100 * time.Millisecond, 3 * time.Second
	// lastCall is the same for a call of SRT that was refused: each of them costs the library a goroutine for good.
	lastCall = 5 * time.Minute
	// leaveAfter is how long a cold input stays on after it has become needless: failover often comes in pairs.
	leaveAfter = 10 * time.Second
	// drainFor bounds how long an input that ends waits for dvrsvc to release its ring. dvrsvc commits each 500 ms.
	drainFor = 3 * time.Second
	// drainAlone is the same where dvrsvc has never been seen.
	drainAlone = time.Second
)

// Receiver is an open socket.
type Receiver interface {
	Run(ctx context.Context, clk clock.Clock, sink udp.Sink) error
	Buffer() (size int, advice string)
	Close() error
}

var _ Receiver = (*udp.Receiver)(nil)

// Deps is what every input of the node shares.
type Deps struct {
	Clock     clock.Clock
	Logger    *slog.Logger
	Node      string
	DVR       grpc.ClientConnInterface
	RingBytes int64 // limit of each input's ring
	Open      func(udp.Address) (Receiver, error)
	// ReadSwitch reads the file of allow_if or deny_if; nil: from the file system.
	ReadSwitch func(path string) ([]byte, error)
}

// Input is one input of one stream that comes from outside: not from a peer.
type Input struct {
	deps   Deps
	stream string
	url    string
	log    *slog.Logger
	ring   *ring.Ring
	client *record.Client
	wake   chan struct{} // capacity 1: the role or the options changed
	left   chan struct{} // closed when the socket is, for good

	mu      sync.Mutex // protects the fields below
	options streamconf.Input
	source  streamconf.Input // the options of the run; changed by the goroutine that runs it alone
	ended   bool             // it was played to its end
	active  bool             // dvrsvc's newest decision
	standby time.Duration    // monotonic: since when not active
	pipe    *pipeline        // while the socket is open
	problem string           // why the socket is not open, or empty
	advice  string           // of the receiver
	// legProblem is why a leg of two is not open, or empty.
	legProblem [2]string
	buffer     int      // bytes of receive buffer
	total      counters // of earlier pipelines
	meter      meter
	rate       rate
	received   time.Time // wall time of the last datagram
	watch      watch
	lately     lately // errors
	cc         lately // continuity errors

	arrived     time.Duration // monotonic time of the last datagram, or of the opening of the socket
	silent      uint64        // whole seconds without data so far
	opened      uint64        // times the socket was
	activations uint64
	activeFor   time.Duration // but for now
	activeSince time.Duration

	closed time.Duration // monotonic: when the source was last left

	// Of the goroutine that runs the input alone.
	said struct{ begun, failed limit }

	denied        string // the file that denies the input
	permitProblem string // why it cannot be read

	// Of the goroutine that looks at the files alone.
	looked, unsure bool
}

// New returns an input that does nothing until Run.
func New(stream string, options streamconf.Input, incarnation uint64, deps Deps) *Input {
	if deps.ReadSwitch == nil {
		deps.ReadSwitch = readSwitch
	}
	in := &Input{
		deps: deps, stream: stream, source: options, url: options.URL(), options: options,
		log:     deps.Logger.With("stream", stream, "input", options.URL()),
		ring:    ring.New(deps.RingBytes, deps.Clock),
		wake:    make(chan struct{}, 1),
		left:    make(chan struct{}),
		standby: deps.Clock.Mono(),
	}
	in.client = record.New(record.Config{
		Stream: stream, Input: in.url, Priority: uint32(options.Priority), Incarnation: incarnation,
		Node: deps.Node, PackagingHash: packagingHash(),
	}, deps.DVR, in.ring, in, deps.Clock, in.log)
	return in
}

// sameSource reports whether options name the same source, and differ at most in how it is used.
func sameSource(a, b streamconf.Input) bool {
	b.Priority, b.SourceTimeout, b.Standby, b.Quality = a.Priority, a.SourceTimeout, a.Standby, a.Quality
	return a == b
}

// Update takes new options; the URL must be the same. A source that they change begins anew, and with it nothing else.
func (in *Input) Update(options streamconf.Input) {
	in.mu.Lock()
	in.options = options
	in.mu.Unlock()
	in.client.SetPriority(uint32(options.Priority))
	in.poke()
}

func (in *Input) poke() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// Role implements record.Source.
func (in *Input) Role(active bool) {
	in.mu.Lock()
	switch now := in.deps.Clock.Mono(); {
	case in.active && !active:
		in.standby = now
		in.activeFor += now - in.activeSince
	case active && !in.active:
		in.activations++
		in.activeSince = now
	}
	in.active = active
	in.mu.Unlock()
	in.poke()
}

// Progress implements record.Source.
func (in *Input) Progress() record.Progress {
	now := in.deps.Clock.Mono()
	in.mu.Lock()
	defer in.mu.Unlock()
	return record.Progress{
		Run: in.meter.run, Stretch: in.meter.stretch, Head: in.meter.head, Age: now - in.meter.moved,
		Alive: in.meter.alive(now, in.options.SourceTimeout) && in.denied == "", Gapless: in.meter.gapless(),
		Fault: string(in.fault(now)),
	}
}

var _ record.Source = (*Input)(nil)

// fault says why the input should be left. in.mu is held.
func (in *Input) fault(now time.Duration) Fault {
	switch {
	case in.denied != "":
		return Denied
	case in.pipe != nil:
	case in.meter.alive(now, in.options.SourceTimeout): // it was left a moment ago, and a fault is not over by it
		return in.watch.fault
	default:
		return ""
	}
	return in.watch.judge(now, in.options.Quality, in.cc.within(now, ccSpan))
}

// silence is how many whole seconds of a pause are without data.
func silence(d time.Duration) uint64 { return uint64(max(d, 0) / time.Second) }

// needed reports whether the socket is to be open, and if so, until when unless something changes (0: for good).
func (in *Input) needed() (bool, time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.denied != "" {
		return false, 0
	}
	if in.pipe != nil && !sameSource(in.options, in.source) {
		return false, 0 // it begins anew
	}
	if in.ended && sameSource(in.options, in.source) {
		return false, 0
	}
	if in.options.Standby == streamconf.Hot || in.active {
		return true, 0
	}
	if in.pipe == nil {
		return false, 0
	}
	left := in.standby + leaveAfter - in.deps.Clock.Mono()
	return left > 0, max(left, 0)
}

// Run receives and records until ctx is done, and then hands over what it still holds, as far as dvrsvc takes it within
// a few seconds.
func (in *Input) Run(ctx context.Context) {
	clientCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var client sync.WaitGroup
	looked := make(chan struct{})
	go in.watchPermit(ctx, looked)
	in.awaitPermit(ctx, looked)
	client.Go(func() { in.client.Run(clientCtx) })
	in.receiveLoop(ctx)
	in.drain()
	stop()
	client.Wait()
}

// receiveLoop keeps the socket open while it is needed.
func (in *Input) receiveLoop(ctx context.Context) {
	defer close(in.left)
	retry := firstReopen
	for ctx.Err() == nil {
		if need, _ := in.needed(); !need {
			in.setProblem("")
			select {
			case <-ctx.Done():
			case <-in.wake:
			}
			continue
		}
		begun := in.deps.Clock.Mono()
		err := in.receive(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			in.log.Info("left the source: not needed, or its options have changed")
			continue
		}
		if errors.Is(err, errEnded) {
			in.log.Info("the file was played to its end")
			in.mu.Lock()
			in.ended = true
			in.mu.Unlock()
			continue
		}
		if in.setProblem(err.Error()) && in.said.failed.allow(in.deps.Clock.Mono()) {
			in.log.Error("input failed, retrying", "error", err)
		}
		limit := lastReopen
		var wake <-chan struct{}
		switch {
		case errors.Is(err, errRefused):
			limit, wake = lastCall, in.wake // new options are tried at once
		case in.deps.Clock.Mono()-begun > lastReopen:
			retry = firstReopen
		}
		retry = min(retry, limit)
		t := in.deps.Clock.NewTimer(retry)
		select {
		case <-ctx.Done():
		case <-t.C():
		case <-wake:
		}
		t.Stop()
		retry = min(2*retry, limit)
	}
}

func (in *Input) setProblem(p string) (changed bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	changed = in.problem != p
	in.problem = p
	return changed
}

// limit lets a few of a kind of line into the log each minute. A source that comes and goes all day would fill it.
type limit struct {
	since time.Duration // when the minute began; monotonic
	lines int
}

const linesAMinute = 5

func (l *limit) allow(now time.Duration) bool {
	if l.lines == 0 || now-l.since >= time.Minute {
		*l = limit{since: now}
	}
	l.lines++
	return l.lines <= linesAMinute
}

// errPanic marks a run that ended in a panic.
var errPanic = errors.New("a bug was hit while receiving; the input starts again")

// receive opens the socket and drives one pipeline until the input is not needed (nil), ctx is done or it fails.
func (in *Input) receive(ctx context.Context) (err error) {
	in.mu.Lock()
	in.source, in.ended = in.options, false
	in.mu.Unlock()
	from, err := in.openSource(ctx, in.source)
	if err != nil {
		return err
	}
	p := newPipeline(in)
	size, advice := from.buffer()
	in.mu.Lock()
	in.pipe, in.problem, in.buffer, in.advice = p, "", size, advice
	in.arrived = in.deps.Clock.Mono()
	if in.opened == 0 {
		in.watch = newWatch(in.arrived)
	} else {
		in.watch = in.watch.reopened(in.closed, in.arrived)
	}
	in.opened++
	in.mu.Unlock()
	said := in.said.begun.allow(in.deps.Clock.Mono())
	if said {
		in.log.Info("receiving", "receive_buffer_bytes", size)
	}
	if said && advice != "" {
		in.log.Warn("receive buffer is small", "advice", advice)
	}

	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { in.watchNeed(ctx, cancel) })
	defer func() {
		if v := recover(); v != nil {
			in.log.Error("panic in an input", "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanic, v)
			p.end(1) // demuxer and packager are not asked for more
		}
		cancel()
		watch.Wait()
		err = errors.Join(err, from.Close())
		in.mu.Lock()
		in.total.add(p.counted)
		in.silent += silence(in.deps.Clock.Mono() - in.arrived)
		in.pipe, in.closed = nil, in.deps.Clock.Mono()
		in.mu.Unlock()
	}()
	err = from.run(ctx, p)
	p.close()
	return err
}

// watchNeed ends a pipeline that is no longer needed.
func (in *Input) watchNeed(ctx context.Context, leave context.CancelFunc) {
	for {
		need, left := in.needed()
		if !need {
			leave()
			return
		}
		var timeout <-chan time.Time
		var t clock.Timer
		if left > 0 {
			t = in.deps.Clock.NewTimer(left)
			timeout = t.C()
		}
		select {
		case <-ctx.Done():
		case <-in.wake:
		case <-timeout:
		}
		if t != nil {
			t.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// drain waits until dvrsvc has released everything. It may be away just now, since both are often restarted at once.
func (in *Input) drain() {
	const poll = 20 * time.Millisecond
	begun := in.deps.Clock.Mono()
	t := in.deps.Clock.NewTicker(poll)
	defer t.Stop()
	for !in.ring.Empty() {
		limit := drainFor
		if !in.client.State().Reached {
			limit = drainAlone
		}
		if in.deps.Clock.Mono()-begun >= limit {
			return
		}
		<-t.C()
	}
}
