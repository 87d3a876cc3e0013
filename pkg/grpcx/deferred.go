package grpcx

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/twinreel/twinreel/pkg/rpcerr"
)

var errNothingSent = errors.New("the stream was closed before its first message")

// Deferred gives a stream that open opens at its first message, which open is told: for whoever has to know it before
// the call is made, to prove it or to find where the call goes. Its errors come back as sentinels.
func Deferred(ctx context.Context, open func(first any) (grpc.ClientStream, error)) grpc.ClientStream {
	return &deferred{ctx: ctx, opened: make(chan struct{}), open: open}
}

type deferred struct {
	ctx    context.Context //nolint:containedctx // it is the call's
	open   func(first any) (grpc.ClientStream, error)
	once   sync.Once
	opened chan struct{}
	cs     grpc.ClientStream // set once opened is closed
	err    error             // why there is no cs
}

func (s *deferred) SendMsg(m any) error {
	s.once.Do(func() {
		s.cs, s.err = s.open(m)
		close(s.opened)
	})
	if s.err != nil {
		return rpcerr.FromStatus(s.err)
	}
	err := s.cs.SendMsg(m)
	if errors.Is(err, io.EOF) {
		return err // the cause comes from RecvMsg, as grpc has it
	}
	return rpcerr.FromStatus(err)
}

// wait blocks until there is a stream.
func (s *deferred) wait() error {
	select {
	case <-s.opened:
		return s.err
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *deferred) RecvMsg(m any) error {
	if err := s.wait(); err != nil {
		return rpcerr.FromStatus(err)
	}
	err := s.cs.RecvMsg(m)
	if errors.Is(err, io.EOF) {
		return err
	}
	return rpcerr.FromStatus(err)
}

func (s *deferred) Header() (metadata.MD, error) {
	if err := s.wait(); err != nil {
		return nil, err
	}
	return s.cs.Header()
}

func (s *deferred) Trailer() metadata.MD {
	if s.wait() != nil {
		return nil
	}
	return s.cs.Trailer()
}

func (s *deferred) CloseSend() error {
	s.once.Do(func() {
		s.err = errNothingSent
		close(s.opened)
	})
	if s.cs == nil {
		return nil
	}
	return s.cs.CloseSend()
}

func (s *deferred) Context() context.Context { return s.ctx }
