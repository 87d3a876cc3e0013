package store

// clockIsRight confirms the clock by itself.
func clockIsRight(s *Store) { _, _ = s.ConfirmClock(s.clock.Now()) }
