package store

import (
	"github.com/twinreel/twinreel/pkg/segment"
)

// watchBuffer is how many events a watcher may be behind.
const watchBuffer = 256

type watcher struct{ events chan Event }

// event is an event on its way.
type event struct {
	Event
	st *Stream
}

// Watch tells what changes from now on. A watcher that is slower than its buffer of 256 loses the oldest events.
// stop ends it and closes the channel.
func (st *Stream) Watch() (events <-chan Event, stop func()) {
	w := &watcher{events: make(chan Event, watchBuffer)}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.watchers[w] = true
	return w.events, func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.watchers[w] {
			delete(st.watchers, w)
			close(w.events)
		}
	}
}

func (st *Stream) tell(e Event) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for w := range st.watchers {
		for {
			select {
			case w.events <- e:
			default:
				select {
				case <-w.events:
				default:
				}
				continue
			}
			break
		}
	}
}

// sealedEvent describes what a commit did to a slot.
func (st *Stream) sealedEvent(out *Outcome) event {
	e := event{st: st, Event: Event{Time: st.s.clock.Now(), Kind: EventSealed, Copy: out.Copy}}
	if len(out.Replaced) > 0 {
		e.Kind = EventReplaced
	}
	e.Digests = st.digests(out.Copy.Slot)
	return e
}

// digests gives what a slot holds, the presented copy first.
func (st *Stream) digests(slot segment.Slot) []segment.Digest {
	copies, err := st.Copies(slot)
	if err != nil {
		return nil
	}
	var out []segment.Digest
	for i := range copies {
		if !copies[i].Quarantined {
			out = append(out, copies[i].Info.Digest)
		}
	}
	return out
}
