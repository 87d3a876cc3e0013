package limit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// maxKept bounds the file of what operators have set.
const maxKept = 8 << 20

// Scope is what a limit or a pause is of: a stream, a peer (HOST:PORT), or, with neither, all.
type Scope struct {
	Stream string `json:"stream,omitempty"`
	Peer   string `json:"peer,omitempty"`
}

func (s Scope) String() string {
	switch {
	case s.Stream != "":
		return "stream " + s.Stream
	case s.Peer != "":
		return "peer " + s.Peer
	}
	return "all"
}

// spell writes a peer as the config does: it may have been kept in capitals.
func (s *Scope) spell() {
	if addr, err := streamconf.ParsePeer(s.Peer); err == nil {
		s.Peer = addr
	}
}

func (s Scope) compare(o Scope) int {
	return cmp.Or(cmp.Compare(s.Stream, o.Stream), cmp.Compare(s.Peer, o.Peer))
}

// Entry is what holds of a scope.
type Entry struct {
	Scope      Scope
	Configured streamconf.Speed // by the stream config or, of all, the environment; empty: nothing
	Set        streamconf.Speed // by an operator; empty: nothing
	Bits       uint64           // in force now; 0: no limit, or of a peer or stream none of its own
	Paused     bool
}

// Limits are those of this node. Make them with New.
type Limits struct {
	gate *Gate
	clk  clock.Clock
	log  *slog.Logger

	keeping sync.Mutex // held while settings are changed and kept

	mu   sync.Mutex // protects the fields below
	base streamconf.Speed
	conf map[Scope]streamconf.Speed
	by   settings
	fsys vfs.FS // nil: nothing is kept
	path string
}

// settings are what operators have set.
type settings struct {
	speeds map[Scope]streamconf.Speed
	paused map[Scope]bool
}

// New makes limits; bits a second of all unless the config says otherwise, 0: none.
func New(bits uint64, clk clock.Clock, log *slog.Logger) *Limits {
	l := &Limits{
		clk: clk, log: log, base: streamconf.SpeedOf(bits), conf: map[Scope]streamconf.Speed{},
		by: settings{map[Scope]streamconf.Speed{}, map[Scope]bool{}},
	}
	l.gate = NewGate(clk, l.rates)
	return l
}

// kept is the file of what operators have set.
type kept struct {
	Version int       `json:"version"`
	Limits  []setting `json:"limits,omitempty"`
	Paused  []Scope   `json:"paused,omitempty"`
}

type setting struct {
	Scope
	Speed streamconf.Speed `json:"speed"`
}

const keptVersion = 1

// Open reads what operators have set, and keeps from then on what they set. What cannot be read is told, and what the
// config says holds.
func (l *Limits) Open(fsys vfs.FS, path string) {
	err := vfs.MakeDir(fsys, filepath.Dir(path))
	var k kept
	if err == nil {
		k, err = read(fsys, path)
	}
	if err != nil {
		l.log.Error("limits and pauses that operators had set are not known, the config holds", "path", path, "err", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fsys, l.path = fsys, path
	for _, s := range k.Limits {
		l.by.speeds[s.Scope] = s.Speed
	}
	for _, s := range k.Paused {
		l.by.paused[s] = true
		l.log.Warn("replication is paused by an operator", "scope", s.String())
	}
}

func read(fsys vfs.FS, path string) (kept, error) {
	b, err := vfs.ReadFile(fsys, path, maxKept)
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, nil
	}
	if err != nil {
		return kept{}, err
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return kept{}, err
	}
	if k.Version != keptVersion {
		return kept{}, fmt.Errorf("it has version %d, want %d", k.Version, keptVersion)
	}
	for i := range k.Paused {
		k.Paused[i].spell()
	}
	for i := range k.Limits {
		k.Limits[i].spell()
		if k.Limits[i].Speed, err = streamconf.ParseSpeed(string(k.Limits[i].Speed)); err != nil {
			return kept{}, err
		}
	}
	return k, nil
}

// Apply takes what the stream config says.
func (l *Limits) Apply(conf *streamconf.Config) {
	said := map[Scope]streamconf.Speed{{}: conf.Speed}
	for _, p := range conf.Peers {
		said[Scope{Peer: p.Addr}] = p.Speed
	}
	for _, s := range conf.Streams {
		said[Scope{Stream: s.Name}] = s.DVR.Speed
	}
	maps.DeleteFunc(said, func(_ Scope, s streamconf.Speed) bool { return s == "" })
	l.mu.Lock()
	l.conf = said
	l.mu.Unlock()
	l.gate.Changed()
}

// Set sets a limit; an empty one: what the config says holds. Errors: errs.ErrInvalid.
func (l *Limits) Set(s Scope, speed streamconf.Speed) error {
	return l.change(s, func(by settings) {
		if speed == "" {
			delete(by.speeds, s)
		} else {
			by.speeds[s] = speed
		}
	}, "limit", speed)
}

// Pause ends what is fetched of a scope, and fetches nothing more of it. Errors: errs.ErrInvalid.
func (l *Limits) Pause(s Scope) error {
	return l.change(s, func(by settings) { by.paused[s] = true }, "paused", true)
}

// Resume takes a pause back; of all, every pause. Errors: errs.ErrInvalid.
func (l *Limits) Resume(s Scope) error {
	return l.change(s, func(by settings) {
		if s == (Scope{}) {
			clear(by.paused)
		}
		delete(by.paused, s)
	}, "paused", false)
}

// change makes a change: what is kept holds, and only then (I4).
func (l *Limits) change(s Scope, do func(settings), what string, value any) error {
	if s.Stream != "" && s.Peer != "" {
		return fmt.Errorf("a limit is of a stream or of a peer, not of both: %w", errs.ErrInvalid)
	}
	l.keeping.Lock()
	defer l.keeping.Unlock()
	l.mu.Lock()
	next := settings{maps.Clone(l.by.speeds), maps.Clone(l.by.paused)}
	fsys, path := l.fsys, l.path
	l.mu.Unlock()
	do(next)
	if fsys != nil {
		b, err := json.Marshal(next.kept())
		if err == nil {
			err = vfs.Replace(fsys, path, b)
		}
		if err != nil {
			return fmt.Errorf("keep the limits: %w", err)
		}
	}
	l.mu.Lock()
	l.by = next
	l.mu.Unlock()
	l.log.Info("an operator has changed replication", "scope", s.String(), what, value)
	l.gate.Changed()
	return nil
}

// kept is what the file is to have.
func (by settings) kept() kept {
	k := kept{Version: keptVersion, Paused: slices.SortedFunc(maps.Keys(by.paused), Scope.compare)}
	for _, s := range slices.SortedFunc(maps.Keys(by.speeds), Scope.compare) {
		k.Limits = append(k.Limits, setting{s, by.speeds[s]})
	}
	return k
}

// Wait waits until n bytes more of a flow may come. Errors: ErrPaused, that of ctx.
func (l *Limits) Wait(ctx context.Context, f Flow, granted func() uint64, n int) error {
	return l.gate.Wait(ctx, f, granted, n)
}

// Server is the limit of all, in bits a second; 0: none.
func (l *Limits) Server() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bits(Scope{})
}

// Of is the smallest limit of a flow, in bits a second; 0: none. paused: nothing of it is fetched.
func (l *Limits) Of(f Flow) (bits uint64, paused bool) {
	r := l.rates(f)
	for _, b := range []uint64{r.Server, r.Peer, r.Stream} {
		if b > 0 && (bits == 0 || b < bits) {
			bits = b
		}
	}
	return bits, r.Paused
}

// List is what holds of everything of which something is said, all first, then peers, then streams.
func (l *Limits) List() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	scopes := map[Scope]bool{{}: true}
	for s := range l.conf {
		scopes[s] = true
	}
	for s := range l.by.speeds {
		scopes[s] = true
	}
	for s := range l.by.paused {
		scopes[s] = true
	}
	var out []Entry
	for _, s := range slices.SortedFunc(maps.Keys(scopes), Scope.compare) {
		e := Entry{Scope: s, Configured: l.conf[s], Set: l.by.speeds[s], Bits: l.bits(s), Paused: l.by.paused[s]}
		if s == (Scope{}) {
			e.Configured = cmp.Or(e.Configured, l.base)
		}
		out = append(out, e)
	}
	return out
}

// bits is the limit of a scope now; 0: none. l.mu is held.
func (l *Limits) bits(s Scope) uint64 {
	speed := cmp.Or(l.by.speeds[s], l.conf[s])
	if s == (Scope{}) {
		speed = cmp.Or(speed, l.base)
	}
	bits, _ := speed.At(l.clk.Now())
	return bits
}

func (l *Limits) rates(f Flow) Rates {
	stream, peer := Scope{Stream: f.Stream}, Scope{Peer: f.Peer}
	l.mu.Lock()
	defer l.mu.Unlock()
	return Rates{
		Server: l.bits(Scope{}), Peer: l.bits(peer), Stream: l.bits(stream),
		Paused: l.by.paused[Scope{}] || l.by.paused[stream] || l.by.paused[peer],
	}
}
