package transfer

import (
	"errors"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// Refusals, by what is to be expected.
const (
	refusedShort   = time.Second     // a cut, a peer that is busy
	refusedAWhile  = time.Minute     // what the peer has changed
	refusedDamaged = 5 * time.Second // it came damaged: the wire, or the peer's memory, may do that once
	refusedBad     = 5 * time.Minute // it came damaged again and again
	refusedLong    = time.Hour       // it has expired or was deleted here
)

// The wait doubles from pauseFirst to pauseMax while dvrsvc takes nothing.
const (
	pauseFirst = time.Second
	pauseMax   = time.Minute
)

// verdict is what a fetch that failed says of the copy.
type verdict struct {
	wait time.Duration // before it is asked for again
	all  bool          // from anyone, not just from this peer
	bad  bool          // the copy itself is at fault
	// damaged: it did not come as it was listed, or not at all, and the wait doubles each time up to refusedBad.
	damaged bool
	// stale: the peer has it no more, or its slot is of no row here: what the plan was made from is old.
	stale bool
	// expired: ours says so, and will not when the range is locked, or its retention is longer.
	expired bool
}

func judge(err error) verdict {
	var refused *RefusedError
	if errors.As(err, &refused) {
		switch refused.Reason {
		case "EXPIRED":
			return verdict{wait: refusedLong, all: true, bad: true, expired: true}
		case "DELETED", "FORMAT":
			return verdict{wait: refusedLong, all: true, bad: true}
		case "CORRUPT", "INVALID":
			return verdict{wait: refusedDamaged, bad: true, damaged: true}
		case "UNKNOWN":
			return verdict{wait: refusedAWhile, all: true, stale: true}
		case "CONFLICT_LIMIT":
			return verdict{wait: refusedBad, all: true, bad: true}
		}
		return verdict{wait: refusedAWhile, all: true, bad: true}
	}
	var busy *m4fclient.BusyError
	switch {
	case errors.As(err, &busy):
		return verdict{wait: busy.After}
	case errors.Is(err, errs.ErrSuperseded), errors.Is(err, errs.ErrUnknown), errors.Is(err, errs.ErrWithheld),
		// It lists these no more, until it has them again: its store may be replaced, its retention longer.
		errors.Is(err, errs.ErrExpired), errors.Is(err, errs.ErrDeleted):
		return verdict{wait: refusedAWhile, stale: true}
	case errors.Is(err, errs.ErrQuarantined): // it says so itself, and mends it
		return verdict{wait: refusedAWhile, bad: true, stale: true}
	case errors.Is(err, errs.ErrCorrupt), errors.Is(err, errs.ErrInvalid):
		return verdict{wait: refusedDamaged, bad: true, damaged: true}
	case errors.Is(err, errUnread):
		return verdict{wait: refusedDamaged, damaged: true}
	}
	return verdict{wait: refusedShort}
}

// judgeTold is judge for evidence without bytes, where no copy of the peer's can be at fault. When ours is gone or rotten,
// the next comparison shows that, and the peer's is fetched.
func judgeTold(err error) verdict {
	if errors.Is(err, errs.ErrUnknown) || errors.Is(err, errs.ErrCorrupt) {
		return verdict{wait: refusedShort, all: true, stale: true}
	}
	return verdict{wait: refusedAWhile}
}
