package store

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// stateVersion is that of a state without locks and tombstones: as it always was. With them it is keptVersion, for a program
// that does not know them would let go of what is locked, and bring back what was deleted.
const (
	stateVersion = 1
	keptVersion  = 2
)

// state is what a stream knows beside its segments. It is written whole at each change, and copied into the head of
// each data file, from where a lost one is restored.
type state struct {
	Version   int           `json:"version"`
	Store     string        `json:"store"` // hex
	Stream    string        `json:"stream"`
	Mark      int64         `json:"mark"`      // nanoseconds since 1970; before it everything has expired
	Retention time.Duration `json:"retention"` // nanoseconds; the rule under which Mark was reached
	Limit     Limit         `json:"limit,omitzero"`
	Storage   Limit         `json:"storage_limit,omitzero"`
	Floor     int64         `json:"floor,omitempty"`      // nanoseconds since 1970; before it all has gone to a limit
	FloorFile uint64        `json:"floor_file,omitempty"` // number of the youngest live file that has
	Taken     int64         `json:"taken,omitempty"`      // before it retention may have taken something, whatever the rule is now
	Seen      int64         `json:"seen"`                 // newest wall time at which retention ran, nanoseconds since 1970
	Rows      []Row         `json:"rows"`                 // oldest first
	Revision  uint64        `json:"revision,omitempty"`   // counts the changes of the fields below
	Locks     []lock        `json:"locks,omitempty"`
	Deleted   []tombstone   `json:"deleted,omitempty"`
}

func (s *state) encode() ([]byte, error) {
	out := *s
	if out.Version = stateVersion; len(s.Locks)+len(s.Deleted) > 0 {
		out.Version = keptVersion
	}
	return encodeText(&out)
}

// encodeText gives JSON with its checksum behind it.
func encodeText(v any) ([]byte, error) {
	body, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return fmt.Appendf(body, "\ncrc32c %08x\n", crc32.Checksum(body, castagnoli)), nil
}

var errState = errors.New("the state file is damaged")

// decodeText reads what encodeText gave.
func decodeText(b []byte, v any) error {
	const tail = len("\ncrc32c 00000000\n")
	if len(b) < tail {
		return errState
	}
	body := b[:len(b)-tail]
	if string(b[len(body):]) != fmt.Sprintf("\ncrc32c %08x\n", crc32.Checksum(body, castagnoli)) {
		return errState
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode state: %w", err)
	}
	return nil
}

func decodeState(b []byte) (s state, err error) {
	if err := decodeText(b, &s); err != nil {
		return s, err
	}
	if s.Version != stateVersion && s.Version != keptVersion {
		return s, fmt.Errorf("state version %d is not known to this program", s.Version)
	}
	return s, nil
}

// readFile reads a file of the store's own: the state, or in tests a data file.
func readFile(f vfs.FS, path string) ([]byte, error) { return vfs.ReadFile(f, path, maxBox) }

// merge takes over what a copy of the state in a data file knows and s does not: rows, newer points, a higher mark, and
// rule and floor of the newest, locks and tombstones of the last change.
func (s *state) merge(o state) {
	if o.Seen >= s.Seen { // the floor may have been moved back
		s.Floor, s.FloorFile, s.Limit, s.Storage, s.Retention = o.Floor, o.FloorFile, o.Limit, o.Storage, o.Retention
	}
	if o.Revision > s.Revision {
		s.Revision, s.Locks, s.Deleted = o.Revision, o.Locks, o.Deleted
	}
	s.Mark, s.Seen, s.Taken = max(s.Mark, o.Mark), max(s.Seen, o.Seen), max(s.Taken, o.Taken)
	if s.Store == "" {
		s.Store = o.Store
	}
	for _, r := range o.Rows {
		if mine := s.row(r.ID); mine == nil {
			s.Rows = append(s.Rows, r)
		} else {
			switch {
			case len(r.Mapping) > len(mine.Mapping):
				mine.Mapping, mine.Unsure = r.Mapping, r.Unsure
			case len(r.Mapping) == len(mine.Mapping):
				mine.Unsure = mine.Unsure && r.Unsure
			}
			if len(r.Bindings) > len(mine.Bindings) {
				mine.Bindings = r.Bindings
			}
		}
	}
}

func (s *state) row(id segment.TimelineID) *Row {
	for i := range s.Rows {
		if s.Rows[i].ID == id {
			return &s.Rows[i]
		}
	}
	return nil
}

// storeFile is PATH/.twinreel/store.
type storeFile struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
}

func parseID(s string) (id [16]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("read store id %q: want 32 hex digits", s)
	}
	return [16]byte(b), nil
}
