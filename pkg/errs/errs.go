// Package errs names the outcomes that cross a boundary between services or sites, each as one sentinel that says what
// the caller does about it. Compare with errors.Is; wrap with the action that met it.
//
// It does not map them to gRPC: package rpcerr does, both ways, so that errors.Is holds across a wire. What never
// leaves a package stays a sentinel of that package.
package errs

import "errors"

// Asking for something that is not here.
var (
	// ErrStreamUnknown: ask again after the config has changed.
	ErrStreamUnknown = errors.New("the stream has neither config nor archive here")
	// ErrUnknown: ask elsewhere.
	ErrUnknown = errors.New("this was never here")
	// ErrExpired: do not ask again, the retention of this site has passed.
	ErrExpired = errors.New("this has expired here")
	// ErrDeleted: do not ask again, an operator deleted it.
	ErrDeleted = errors.New("this was deleted here")
	// ErrQuarantined: ask elsewhere, the copy here is damaged on disk.
	ErrQuarantined = errors.New("the copy here is quarantined")
	// ErrSuperseded: ask for the copy that took its place, which SupersededError names.
	ErrSuperseded = errors.New("another copy took the place of this one")
	// ErrAheadOfLive: ask again later.
	ErrAheadOfLive = errors.New("this lies ahead of the live edge")
)

// SupersededError is ErrSuperseded with what took the place.
type SupersededError struct {
	By string // digest, 64 lower-case hex digits
}

// Error implements error.
func (e *SupersededError) Error() string { return ErrSuperseded.Error() + ": " + e.By }

// Unwrap gives the sentinel.
func (e *SupersededError) Unwrap() error { return ErrSuperseded }

// Bringing something.
var (
	// ErrOtherDigest: both copies are kept, raise the conflict.
	ErrOtherDigest = errors.New("another copy with a different digest exists")
	// ErrConflictLimit: give it up, the slot holds as many different copies as it may.
	ErrConflictLimit = errors.New("the slot holds too many different copies")
	// ErrCorrupt: fetch or send it again, the bytes do not have their digest.
	ErrCorrupt = errors.New("the bytes do not match their digest")
	// ErrFull: keep it and offer it again later.
	ErrFull = errors.New("there is no room on the storage")
	// ErrFormat: send nothing of this stream live, alarm.
	ErrFormat = errors.New("the format or packaging of the stream differs")
	// ErrLocked: unlock the range first, or leave it out.
	ErrLocked = errors.New("the range is locked")
	// ErrClockDiffers: set one of the two clocks right.
	ErrClockDiffers = errors.New("the clocks differ")
	// ErrDisplaced: stop, a newer incarnation of this producer is connected.
	ErrDisplaced = errors.New("a newer incarnation of this input took over")
)

// Meeting a service or a peer.
var (
	// ErrNotReady: try again soon, it is starting or stopping.
	ErrNotReady = errors.New("the service is not ready")
	// ErrPeerUnreachable: try again later, or another peer.
	ErrPeerUnreachable = errors.New("the peer cannot be reached")
	// ErrBadKey: do not try again until the cluster key has changed.
	ErrBadKey = errors.New("the cluster key is wrong or missing")
	// ErrNoSession: say Hello again.
	ErrNoSession = errors.New("there is no session, or it has ended")
	// ErrOwnID: fix the config, a node was pointed at itself.
	ErrOwnID = errors.New("the peer has the node id of the caller")
	// ErrNodeConflict: fix the config, two nodes carry one id.
	ErrNodeConflict = errors.New("another node is connected under this node id")
	// ErrNoCommonVersion: upgrade one of the two.
	ErrNoCommonVersion = errors.New("there is no common protocol version")
	// ErrWithheld: ask another peer, this one takes media of the stream and gives none, or this node is not one of its readers.
	ErrWithheld = errors.New("the peer gives nothing of the stream to this node (replicate=pull, or readers)")
)

// Saying something wrong.
var (
	// ErrInvalid: fix the request.
	ErrInvalid = errors.New("the request is invalid")
	// ErrConfigInvalid: fix the config, the old one stays in force.
	ErrConfigInvalid = errors.New("the config is invalid")
	// ErrConfigConflict: read the config again and repeat the change.
	ErrConfigConflict = errors.New("the config has changed meanwhile")
)
