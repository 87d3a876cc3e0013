package auth

import (
	"testing"

	"github.com/twinreel/twinreel/pkg/clock"
)

// TestQuestionsDisplaceNoSession: a peer that asks for the terms of thousands of streams opens a session each time and uses none of
// them; one over which somebody calls, be it once in ten minutes, stays.
func TestQuestionsDisplaceNoSession(t *testing.T) {
	g := NewGate("b", "/opener", func() Key { return Key{} }, clock.System{}, nil)
	used, idle := string(g.Open("a", "store")), string(g.Open("c", "store"))
	call := func(id string) bool { _, ok := g.touch(id); return ok }
	if !call(used) {
		t.Fatal("a new session is none")
	}
	for range maxSessions {
		g.Open("big", "store")
	}
	if !call(used) || call(idle) {
		t.Error("the session that is used is gone, or the one that is not is there")
	}
	if n := len(g.sessions); n > maxSessions {
		t.Errorf("%d sessions are kept", n)
	}
	for range maxSessions { // when all are used, the one that was not for longest goes
		call(string(g.Open("big", "store")))
	}
	if call(used) {
		t.Error("a session is kept for ever")
	}
}
