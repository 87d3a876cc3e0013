package configclient

import "sync"

// State is what a client knows of the config it keeps, for who asks its service. The zero value is ready; safe for
// concurrent use.
type State struct {
	mu       sync.Mutex // protects the fields below
	revision string
	problem  string
	withheld bool
}

// Config gives the revision of the config in force, empty before the first, and what is wrong with following it.
func (s *State) Config() (revision, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision, s.problem
}

// KeyWithheld reports whether the config in force has a cluster key that the gateway did not send.
func (s *State) KeyWithheld() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.withheld
}

func (s *State) withhold(withheld bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withheld = withheld
}

func (s *State) took(revision string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision = revision
}

func (s *State) say(problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = problem
}
