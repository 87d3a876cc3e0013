package input

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	srt "github.com/datarhei/gosrt"
	"github.com/datarhei/gosrt/packet"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/streamconf"
)

// Errors of SRT sources.
var (
	errWithheld = errors.New("the passphrase was withheld: the gateway gives it within a process or over mTLS alone")
	errNoAnswer = errors.New("nobody answers")
	errGone     = errors.New("the sender has gone")
	errRefused  = errors.New("the sender refuses the call")
)

const (
	// knocks are how often it is asked whether somebody is there, and knockWait is how long each time.
	knocks, knockWait = 3, 400 * time.Millisecond
	srtTimeout        = 3 * time.Second
	srtIdle           = 5 * time.Second
	sequenceMask      = 1<<31 - 1 // of SRT
)

// srtSource receives over SRT. The library resends, decrypts and orders; by the sequence numbers of what it hands on we
// see what it gave up.
type srtSource struct {
	in       *Input
	options  streamconf.SRT
	conn     srt.Conn     // as caller
	listener srt.Listener // as listener
}

// openSRT calls the sender, or waits on its port.
func (in *Input) openSRT(ctx context.Context, o streamconf.SRT) (source, error) {
	if o.Withheld() {
		return nil, errWithheld
	}
	s := &srtSource{in: in, options: o}
	config := srt.DefaultConfig()
	config.ReceiverLatency = o.Latency
	config.ConnectionTimeout = srtTimeout
	config.PeerIdleTimeout = srtIdle
	if o.Listen {
		l, err := srt.Listen("srt", o.Addr(), config) // a passphrase is checked for each caller
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", o.Addr(), err)
		}
		s.listener = l
		return s, nil
	}
	config.StreamId, config.Passphrase = o.StreamID, string(o.Passphrase)
	if err := knock(ctx, in.deps.Clock, o.Addr()); err != nil {
		return nil, fmt.Errorf("call %s: %w", o.Addr(), err)
	}
	type called struct {
		conn srt.Conn
		err  error
	}
	done := make(chan called)
	go func() {
		c, err := srt.Dial("srt", o.Addr(), config)
		select {
		case done <- called{c, err}:
		case <-ctx.Done():
			if err == nil {
				closeCaller(c)
			}
		}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case c := <-done:
		if c.err != nil {
			return nil, fmt.Errorf("%w: %w", errRefused, c.err)
		}
		s.conn = c.conn
		return s, nil
	}
}

// knock asks whether somebody speaks SRT there, with the first message of a handshake (draft-sharabayko-srt, 4.3.1.1),
// which binds nobody. A call of the library that fails costs it a goroutine for good.
func knock(ctx context.Context, clk clock.Clock, addr string) error {
	conn, err := (&net.Dialer{Timeout: srtTimeout}).DialContext(ctx, "udp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	hello := make([]byte, 64)
	hello[0] = 0x80                                // control, type 0: handshake
	binary.BigEndian.PutUint32(hello[16:], 4)      // version
	binary.BigEndian.PutUint16(hello[22:], 2)      // extension field: datagrams
	binary.BigEndian.PutUint32(hello[28:], 1500)   // largest packet
	binary.BigEndian.PutUint32(hello[32:], 8192)   // window
	binary.BigEndian.PutUint32(hello[36:], 1)      // induction
	binary.BigEndian.PutUint32(hello[40:], 0x7477) // socket id, which nobody will speak to
	answer := make([]byte, 1500)
	for range knocks {
		if _, err := conn.Write(hello); err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		until := clk.NewTimer(knockWait)
		done := make(chan bool, 1)
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		go func() {
			n, err := conn.Read(answer)
			done <- err == nil && n >= 64 && answer[0] == 0x80 && answer[1] == 0
		}()
		ok := false
		refused := false
		select {
		case ok = <-done:
			refused = !ok
		case <-until.C():
			if err := conn.SetReadDeadline(time.Unix(1, 0)); err != nil { // long ago: the read ends
				return err
			}
			ok = <-done
		case <-ctx.Done():
		}
		if ok {
			until.Stop()
			return nil
		}
		if refused { // at once, it may be: then the rest of the time is waited for
			select {
			case <-until.C():
			case <-ctx.Done():
			}
		}
		until.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errNoAnswer
}

// closeCaller ends a call. The library's reader waits for somebody to hear that it has ended, so its word is fetched.
func closeCaller(c srt.Conn) {
	_ = c.Close() // it has no error
	go func() {
		var b [1]byte
		for range 100 {
			if _, err := c.Read(b[:]); errors.Is(err, srt.ErrClientClosed) {
				return
			}
		}
	}()
}

func (s *srtSource) run(ctx context.Context, p *pipeline) error {
	if s.listener == nil {
		return s.read(ctx, s.conn, p)
	}
	stop := context.AfterFunc(ctx, s.listener.Close)
	defer stop()
	calls := make(chan srt.Conn)
	failed := make(chan error, 1)
	ended := make(chan struct{})
	defer close(ended)
	var busy sync.Mutex // held while a sender is connected, by who reads from it
	go func() { failed <- s.accept(&busy, calls, ended) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("listen on %s: %w", s.options.Addr(), err)
	case c := <-calls:
		return s.read(ctx, c, p)
	}
}

// accept takes the first caller with the right stream id and passphrase, and refuses all others for as long as it is
// there.
func (s *srtSource) accept(busy *sync.Mutex, calls chan<- srt.Conn, ended <-chan struct{}) error {
	for {
		r, err := s.listener.Accept2()
		if err != nil {
			return err
		}
		switch phrase := string(s.options.Passphrase); {
		case s.options.StreamID != "" && r.StreamId() != s.options.StreamID:
			r.Reject(srt.REJ_PEER)
			continue
		case r.IsEncrypted() != (phrase != ""):
			r.Reject(srt.REJ_UNSECURE)
			continue
		case phrase != "" && r.SetPassphrase(phrase) != nil:
			r.Reject(srt.REJ_BADSECRET)
			continue
		case !busy.TryLock():
			r.Reject(srt.REJ_RESOURCE)
			continue
		}
		c, err := r.Accept()
		if err != nil {
			busy.Unlock()
			continue
		}
		select {
		case calls <- c:
		case <-ended:
			_ = c.Close() // it has no error
			return nil
		}
	}
}

// read hands on what comes, until the sender ends.
func (s *srtSource) read(ctx context.Context, c srt.Conn, p *pipeline) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	clk := s.in.deps.Clock
	var next uint32
	for first := true; ; first = false {
		m, err := c.ReadPacket()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		seq := m.Header().PacketSequenceNumber.Val()
		if first {
			next = seq
		}
		var missing uint32
		missing, next = srtStep(next, seq)
		p.message(clk.Mono(), missing, m)
	}
}

// srtStep is how many packets are missing before the one with this number, and which is next. One that is older than what
// is next is none of the missing ones.
func srtStep(next, seq uint32) (missing, after uint32) {
	missing = (seq - next) & sequenceMask
	if missing > sequenceMask/2 {
		return 0, next
	}
	return missing, (seq + 1) & sequenceMask
}

// message takes a packet of SRT, and that others before it are missing.
func (p *pipeline) message(mono time.Duration, missing uint32, m packet.Packet) {
	if missing > 0 {
		p.mu.Lock()
		p.demux.SequenceLoss(missing)
		p.mu.Unlock()
	}
	p.write(mono, m.Data())
	m.Decommission()
}

func (s *srtSource) buffer() (int, string) { return 0, "" }

func (s *srtSource) Close() error {
	if s.listener != nil {
		s.listener.Close()
	}
	if s.conn != nil {
		closeCaller(s.conn)
	}
	return nil
}
