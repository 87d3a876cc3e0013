package transfer

import (
	"errors"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// Refusals, by what is to be expected.
const (
	refusedShort  = time.Second     // a cut, a peer that is busy
	refusedAWhile = time.Minute     // what the peer has changed
	refusedBad    = 5 * time.Minute // it came damaged
	refusedLong   = time.Hour       // it has expired here or there, or was deleted
)

// whom a refusal is about: one peer's copy, or the copy from anyone.
type whom struct{ all bool }

// The wait doubles from pauseFirst to pauseMax while dvrsvc takes nothing.
const (
	pauseFirst = time.Second
	pauseMax   = time.Minute
)

// judge says for how long a copy is not asked for again, from whom, and whether the copy itself was bad.
func judge(err error) (who whom, wait time.Duration, bad bool) {
	var refused *RefusedError
	if errors.As(err, &refused) {
		switch refused.Reason {
		case "EXPIRED", "DELETED", "FORMAT":
			return whom{all: true}, refusedLong, true
		case "CORRUPT":
			return whom{}, refusedBad, true
		case "CONFLICT_LIMIT":
			return whom{all: true}, refusedBad, true
		}
		return whom{all: true}, refusedAWhile, true
	}
	var busy *m4fclient.BusyError
	var superseded *m4fclient.SupersededError
	switch {
	case errors.As(err, &busy):
		return whom{}, busy.After, false
	case errors.As(err, &superseded), errors.Is(err, errs.ErrUnknown):
		return whom{}, refusedAWhile, false
	case errors.Is(err, errs.ErrExpired), errors.Is(err, errs.ErrDeleted):
		return whom{}, refusedLong, false
	case errors.Is(err, errs.ErrQuarantined), errors.Is(err, errs.ErrCorrupt), errors.Is(err, errs.ErrInvalid):
		return whom{}, refusedBad, true
	}
	return whom{}, refusedShort, false
}
