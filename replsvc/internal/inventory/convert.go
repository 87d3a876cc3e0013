package inventory

import (
	"fmt"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Limits on what one answer may hold: far above anything real, far below what would hurt.
const (
	maxRows    = 100_000
	maxSamples = 4096
	maxCopies  = 64
	// maxU bounds U to 100 years either way, so that a distance in nanoseconds never overflows, nor a sum of a few.
	maxU    = timeline.Ticks(100*365*24*3600) * timeline.TicksPerSecond
	maxCell = int64(maxU / timeline.CellTicks)
)

// FromTimelines reads rows.
func FromTimelines(ms []*dvrv1.Timeline) ([]Row, error) {
	if len(ms) > maxRows {
		return nil, fmt.Errorf("read timelines: %d rows: %w", len(ms), errs.ErrInvalid)
	}
	rows := make([]Row, len(ms))
	for i, m := range ms {
		r := &rows[i]
		if len(m.GetId()) != len(r.ID) || len(m.GetSamples()) > maxSamples {
			return nil, fmt.Errorf("read timeline: id of %d bytes, %d samples: %w", len(m.GetId()), len(m.GetSamples()), errs.ErrInvalid)
		}
		r.ID = segment.TimelineID(m.GetId())
		r.AtTicks, r.First, r.Last = timeline.Ticks(m.GetAtTicks()), timeline.Ticks(m.GetFirstTicks()), timeline.Ticks(m.GetLastTicks())
		for _, u := range []timeline.Ticks{r.AtTicks, r.First, r.Last} {
			if u > maxU || u < -maxU {
				return nil, fmt.Errorf("read timeline %s: %d ticks: %w", r.ID, u, errs.ErrInvalid)
			}
		}
		r.AtUTC = time.Unix(0, m.GetAtUtcNanos()).UTC()
		for _, s := range m.GetSamples() {
			d, err := segmentpb.ToDigest(s.GetDigest())
			if err != nil {
				return nil, fmt.Errorf("read timeline %s: %w: %w", r.ID, errs.ErrInvalid, err)
			}
			if c := s.GetBlockCell(); c > maxCell || c < -maxCell {
				return nil, fmt.Errorf("read timeline %s: a sample in cell %d: %w", r.ID, c, errs.ErrInvalid)
			}
			r.Samples = append(r.Samples, Sample{
				AbsCell: s.GetBlockCell(), Start: timeline.Ticks(s.GetStartTicks()), Digest: d,
			})
		}
	}
	return rows, nil
}

// FromBlocks reads block digests that were asked for as [from, to), or all when both are 0.
func FromBlocks(ms []*dvrv1.BlockDigest, from, to int64) ([]Block, error) {
	blocks := make([]Block, len(ms))
	for i, m := range ms {
		n := m.GetBlock()
		if (from != 0 || to != 0) && (n < from || n >= to) || i > 0 && n <= blocks[i-1].N {
			return nil, fmt.Errorf("read block digests: block %d was not asked for here: %w", n, errs.ErrInvalid)
		}
		blocks[i] = Block{N: n, Digest: m.GetDigest(), Slots: m.GetSlots()}
	}
	return blocks, nil
}

// FromSlots reads slots of a row that were asked for as blocks [from, to).
func FromSlots(ms []*dvrv1.SlotCopies, row segment.TimelineID, from, to int64) ([]Slot, error) {
	slots := make([]Slot, len(ms))
	for i, m := range ms {
		s, err := segmentpb.ToSlot(m.GetSlot())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
		if s.Timeline != row || s.Block() < from || s.Block() >= to || len(m.GetCopies()) > maxCopies {
			return nil, fmt.Errorf("read slot %s with %d copies: it was not asked for: %w", s, len(m.GetCopies()), errs.ErrInvalid)
		}
		slots[i].Slot = s
		for _, c := range m.GetCopies() {
			cp, err := fromCopy(c)
			if err != nil {
				return nil, fmt.Errorf("read slot %s: %w: %w", s, errs.ErrInvalid, err)
			}
			slots[i].Copies = append(slots[i].Copies, cp)
		}
	}
	return slots, nil
}

func fromCopy(m *dvrv1.CopySummary) (Copy, error) {
	d, err := segmentpb.ToDigest(m.GetDigest())
	if err != nil {
		return Copy{}, err
	}
	tracks, err := segmentpb.ToTracks(m.GetTracks())
	if err != nil {
		return Copy{}, err
	}
	c := Copy{
		Info: segment.Info{
			Start: timeline.Ticks(m.GetStartTicks()), End: timeline.Ticks(m.GetEndTicks()), Digest: d, Bytes: m.GetBytes(),
			Tracks: tracks, Evidence: segmentpb.ToEvidence(m.GetEvidence()), Format: segment.Format,
		},
		StartUTC: time.Unix(0, m.GetStartUtcNanos()).UTC(),
	}
	if c.Info.Start < timeline.Wrap || c.Info.Start >= 2*timeline.Wrap || c.Info.End < c.Info.Start || c.Info.End > 3*timeline.Wrap {
		return c, fmt.Errorf("read copy %s: it spans [%d, %d)", d, c.Info.Start, c.Info.End)
	}
	return c, nil
}
