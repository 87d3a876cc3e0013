package input

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/streamconf"
)

// key names an input: URLs are unique within a stream.
type key struct{ stream, url string }

// running is an input with the means to end it.
type running struct {
	*Input
	stop   context.CancelFunc
	server string // the dvrsvc that records the stream
}

// Manager runs the inputs of the config in force.
type Manager struct {
	deps  Deps
	start uint64 // wall nanoseconds when the process started: the base of incarnations

	wg sync.WaitGroup

	mu     sync.Mutex // protects the fields below
	closed bool
	inputs map[key]running
}

// NewManager returns a manager without inputs.
func NewManager(deps Deps) *Manager {
	mono := deps.Clock.Mono()
	return &Manager{
		deps: deps, start: uint64(deps.Clock.Now().UnixNano() - int64(mono)), inputs: make(map[key]running),
	}
}

// incarnation is the wall time at which the process started plus what went by since: it never falls within a process,
// however the wall clock steps.
func (m *Manager) incarnation() uint64 { return m.start + uint64(m.deps.Clock.Mono()) }

// Apply makes the running inputs those of c.
func (m *Manager) Apply(c *streamconf.Config) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	wanted := make(map[key]streamconf.Input)
	servers := make(map[string]string) // by stream
	for _, s := range c.Streams {
		servers[s.Name] = s.DVR.Server
		for _, options := range s.Inputs {
			if options.Kind != streamconf.KindM4F {
				wanted[key{s.Name, options.URL()}] = options
			}
		}
	}
	m.remove(wanted)
	for k, options := range wanted {
		in, ok := m.inputs[k]
		switch server := servers[k.stream]; {
		case !ok:
			m.inputs[k] = m.run(k.stream, options, server)
			continue
		case in.server != server: // the one before may hang, and never end its call
			in.server = server
			m.inputs[k] = in
			in.client.Redial()
		}
		in.Update(options)
	}
}

// leaveWait is how long removed inputs may take to leave their sources. One may hang, as in a file of a server that is gone.
const leaveWait = 3 * time.Second

// remove ends the inputs that are not wanted and waits for their sockets: a new input may need the port of one, where a
// stream was renamed. m.mu is held.
func (m *Manager) remove(wanted map[key]streamconf.Input) {
	var removed []running
	for k, in := range m.inputs {
		if _, ok := wanted[k]; !ok {
			m.deps.Logger.Info("input removed", "stream", k.stream, "input", k.url)
			in.stop()
			removed = append(removed, in)
			delete(m.inputs, k)
		}
	}
	late := m.deps.Clock.NewTimer(leaveWait)
	defer late.Stop()
	for _, in := range removed {
		select {
		case <-in.left:
		case <-late.C():
			in.log.Error("the source cannot be left, going on without waiting for that")
			return
		}
	}
}

// run starts an input. m.mu is held.
func (m *Manager) run(stream string, options streamconf.Input, server string) running {
	ctx, stop := context.WithCancel(context.Background())
	in := New(stream, options, m.incarnation(), m.deps)
	m.wg.Go(func() { in.Run(ctx) })
	return running{in, stop, server}
}

// List returns the state of every input, by stream and priority.
func (m *Manager) List() []Status {
	m.mu.Lock()
	inputs := make([]running, 0, len(m.inputs))
	for _, in := range m.inputs {
		inputs = append(inputs, in)
	}
	m.mu.Unlock()
	out := make([]Status, len(inputs))
	for i, in := range inputs {
		out[i] = in.Status()
	}
	slices.SortFunc(out, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.URL, b.URL))
	})
	return out
}

// Close ends all inputs and waits until they have handed over what dvrsvc takes. It may be called again.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	for k, in := range m.inputs {
		in.stop()
		delete(m.inputs, k)
	}
	m.mu.Unlock()
	m.wg.Wait()
}
